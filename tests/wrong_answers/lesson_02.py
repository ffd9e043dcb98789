"""Plausible wrong answers to the exercises of lesson 02: {check: [(answer, what its message must say), ...]}."""
import math


def encode(text, vocabulary):
    for char in text:
        if char not in vocabulary:
            raise ValueError(f"unknown: {char}")
    return [vocabulary.index(char) for char in text]


def returned(text, vocabulary):
    for char in text:
        if char not in vocabulary:
            return ValueError(char)
    return [vocabulary.index(char) for char in text]


def whole_text(text, vocabulary):
    if any(char not in vocabulary for char in text):
        raise ValueError(f"{text} has an unknown character")
    return [vocabulary.index(char) for char in text]


def misspelt(text, vocabulary):
    try:
        return [vocabulary.index(char) for char in text]
    except ValueError:
        raise ValueError(f"unknown: {charakter}")  # noqa: F821 - the mistake


def decode(ids, vocabulary):
    return "".join(vocabulary[i] for i in ids)


def join(texts, tokenizer):
    return [i for text in texts for i in tokenizer.encode(text) + [tokenizer.vocab_size]]


def join_between(texts, tokenizer):
    return join(texts, tokenizer)[:-1]


def join_and_grow(texts, tokenizer):
    tokenizer.vocab_size += 1
    return [i for text in texts for i in tokenizer.encode(text) + [tokenizer.vocab_size - 1]]


def part_and_rest(ids, tokenizer):
    texts, text = [], []
    for i in ids:
        if i == tokenizer.vocab_size:
            texts.append(tokenizer.decode(text))
            text = []
        else:
            text.append(i)
    return texts + [tokenizer.decode(text)]


def part(ids, tokenizer):
    return part_and_rest(ids, tokenizer)[:-1]


WRONG = {
    "check_three_merges": [
        (["an", "ana", "ban"], "a tie"),
        (["an", "na", "ba"], "count anew"),
        (["na", "an", "ba"], "not the most frequent"),
        (["ba", "na", "an"], "not the most frequent"),
        (["an", "ban", "bana"], "the first two are right"),
        (["an", "anan", "ban"], "occurs only once"),
        (["an", "a b", "ban"], "border of two words"),
        ("an ban ana", "three strings"),
        ([(97, 110), (98, 256), (256, 97)], "three strings"),
    ],
    "check_encode_decode": [
        ((lambda text, vocabulary: [sorted(vocabulary).index(char) for char in text], decode), "SORTED"),
        ((lambda text, vocabulary: [sorted(set(text)).index(char) for char in text], decode), "made anew"),
        ((lambda text, vocabulary: [ord(char) for char in text], decode), "Unicode"),
        ((lambda text, vocabulary: [vocabulary.find(char) for char in text], decode), "LAST character"),
        ((lambda text, vocabulary: [vocabulary.index(char) for char in text], decode), "must name the character"),
        ((lambda text, vocabulary: [{c: i for i, c in enumerate(vocabulary)}[char] for char in text], decode), "raises KeyError"),
        ((lambda text, vocabulary: [vocabulary.index(char) for char in text if char in vocabulary], decode), "left out"),
        ((returned, decode), "is returned: `raise` it"),
        ((whole_text, decode), "repeats the whole text"),
        ((misspelt, decode), "your function fails, NameError"),
        ((encode, lambda ids, vocabulary: [vocabulary[i] for i in ids]), "a string is asked for"),
        ((encode, lambda ids, vocabulary: "".join(sorted(vocabulary)[i] for i in ids)), "vocabulary[i]"),
        ((lambda text, vocabulary: [i for i, char in enumerate(vocabulary) if char in text], decode), "one for each character"),
        (encode, "pair of functions"),
    ],
    "check_bits_per_character": [
        (lambda surprises, text: sum(surprises) / len(text), "nats per character"),
        (lambda surprises, text: sum(surprises) / math.log(2) / len(surprises), "bits per TOKEN"),
        (lambda surprises, text: sum(surprises) * math.log(2) / len(text), "MORE bits"),
        (lambda surprises, text: sum(surprises) / math.log(2) / len(text.encode()), "divided by the bytes"),
        (lambda surprises, text: sum(surprises) / math.log(2) / len(text.split()), "divided by the words"),
        (lambda surprises, text: sum(surprises) / math.log(2), "whole bill"),
        (lambda surprises, text: [s / math.log(2) / len(text) for s in surprises], "a number is asked for"),
    ],
    "check_telltale_word": [
        ("abc", "which of the two pairs"),
        ("abcab", "which of the two pairs"),
        ("abbc", "never meet"),
        ("ababab", "Only one of the two"),
        ("zebra", "Neither of the two"),
        ("abc bc", "a space in it"),
        (["abc"], "in quotes"),
    ],
    "check_end_mark": [
        ((join_between, part), "after EACH text"),
        ((lambda texts, tokenizer: tokenizer.encode("".join(text + "<|end|>" for text in texts)), part), "one single id"),
        ((lambda texts, tokenizer: [i for text in texts for i in [tokenizer.vocab_size] + tokenizer.encode(text)], part), "before each text"),
        ((lambda texts, tokenizer: [tokenizer.encode(text) + [tokenizer.vocab_size] for text in texts], part), "lists or strings inside"),
        ((lambda texts, tokenizer: [i for text in texts if text for i in join([text], tokenizer)], part), "once for each text"),
        ((join_and_grow, part), "changes the tokenizer"),
        ((join, part_and_rest), "one empty text too many"),
        ((join, lambda ids, tokenizer: part(ids, tokenizer)[:-1]), "loses the last"),
        ((join, lambda ids, tokenizer: [text for text in part(ids, tokenizer) if text]), "leaves out the empty texts"),
        ((join, lambda ids, tokenizer: tokenizer.decode(ids).split("<|end|>")), "gives the special id to `decode`"),
        ((join, lambda ids, tokenizer: "".join("|" if i == tokenizer.vocab_size else tokenizer.decode([i]) for i in ids).split("|")), "several tokens"),
        ((lambda texts, tokenizer: [i for text in texts for i in tokenizer.encode(text) + [tokenizer.vocab_size - 1]], part), "which ordinary text uses"),
    ],
}
