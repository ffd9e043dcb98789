"""Lesson 12: several processes train one model.

    torchrun --standalone --nproc-per-node=2 parallel.py kept.pt

Each process holds a copy of the model and works out its share of every batch. DistributedDataParallel makes the
gradients the mean over all processes before the optimizer sees them, so that all copies take the same step.
"""
import argparse
import os

import torch
import torch.distributed as dist
from tinygpt import GPT, CharTokenizer, GPTConfig, get_batch, split, train
from torch.nn.parallel import DistributedDataParallel
from workbench import load_corpus


def fit(data, config, steps, batch_size, dtype, device="cpu", seed=1337, rank=0, processes=1):
    """Train a GPT on batch_size windows a step, of which this process takes every processes-th: (model, losses).

    The losses are those of this process's windows, in nats. `data` holds (N,) ids, `dtype` is that of the weights.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = GPT(config).to(device, dtype)

    def draw():
        x, y = get_batch(data, batch_size, config.block_size, generator, device)  # all draw the same batch ...
        return x[rank::processes], y[rank::processes]  # ... and keep their own rows of it

    copy = DistributedDataParallel(model) if processes > 1 else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    return model, train(copy, draw, optimizer, range(steps))


def main():
    """What torchrun starts in every process; rank 0 writes weights and mean losses, {dtype: ...}, to a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--corpus", default="auto")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch-size", type=int, default=32)
    args = parser.parse_args()
    if "RANK" not in os.environ:
        parser.error("start it by torchrun, as shown above")
    rank, processes = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if args.batch_size % processes:
        parser.error(f"--batch-size {args.batch_size} cannot be shared evenly by {processes} processes")
    torch.set_num_threads(1)  # each process has one of its own
    device = f"cuda:{os.environ['LOCAL_RANK']}" if args.device == "cuda" else "cpu"
    text = load_corpus(args.corpus).text
    tokenizer = CharTokenizer(text)
    data, _ = split(torch.tensor(tokenizer.encode(text)))
    dist.init_process_group("nccl" if args.device == "cuda" else "gloo")
    kept = {}
    for dtype in (torch.float32, torch.float64):
        config = GPTConfig(vocab_size=tokenizer.vocab_size)
        model, losses = fit(data, config, args.steps, args.batch_size, dtype, device, rank=rank, processes=processes)
        losses = torch.tensor(losses, dtype=torch.float64, device=device)
        dist.all_reduce(losses)  # the sum over all processes
        kept[str(dtype)] = {"model": model.state_dict(), "losses": losses / processes}
    if rank == 0:
        torch.save(kept, args.file)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
