"""Process 1 of a machine of the guide's test, see machine.py. It ends with its standard input.

The kernel then kills every other process of the machine.
"""

import fcntl
import signal
import socket
import struct
import sys

#: From linux/sockios.h and linux/if.h.
SIOCSIFFLAGS = 0x8914
IFF_UP = 1

if __name__ == "__main__":
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # orphans leave no zombies
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh", b"lo", IFF_UP))
    print("ready", flush=True)  # to machine.py
    sys.stdin.read()
