"""python confined.py FOLDER ...: start an IPython kernel that can write below FOLDER and nowhere else.

By Landlock, which Linux has from 5.13 on and which needs no rights; elsewhere the kernel starts unconfined. What the
kernel starts is confined as it is. Reading and the network stay open. Source: https://docs.kernel.org/userspace-api/landlock.html
"""
import ctypes
import os
import platform
import runpy
import struct
import sys

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # system calls, the same numbers on every architecture
ASK_VERSION, PATH_BENEATH, NO_NEW_PRIVILEGES = 1, 1, 38
WRITE_FILE, REFER, TRUNCATE = 1 << 1, 1 << 13, 1 << 14
CHANGES = sum(1 << bit for bit in range(4, 13))  # remove and make files, folders, sockets, links


def version():
    """Landlock's version on this machine; 0 where there is none."""
    if platform.system() != "Linux":
        return 0
    return max(0, ctypes.CDLL(None).syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ASK_VERSION))


def confine(folder):
    """From now on this process, and all that it starts, can write below the folder and to /dev/null only."""
    if not (known := version()):
        return
    libc = ctypes.CDLL(None, use_errno=True)

    def call(number, *arguments):
        if (result := libc.syscall(number, *arguments)) < 0:
            raise OSError(ctypes.get_errno(), "the hand-in could not be confined")
        return result

    to_files = WRITE_FILE | TRUNCATE * (known >= 3)
    writing = to_files | CHANGES | REFER * (known >= 2)
    ruleset = call(CREATE_RULESET, struct.pack("Q", writing), ctypes.c_size_t(8), 0)
    for path, allowed in (folder, writing), ("/dev/shm", writing), ("/dev/null", to_files):
        if os.path.exists(path):
            opened = os.open(path, os.O_PATH)
            call(ADD_RULE, ruleset, PATH_BENEATH, struct.pack("=Qi", allowed, opened), 0)
            os.close(opened)
    libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    call(RESTRICT_SELF, ruleset, 0)


if __name__ == "__main__":
    confine(sys.argv.pop(1))
    runpy.run_module("ipykernel_launcher", run_name="__main__", alter_sys=True)
