# SPDX-License-Identifier: GPL-2.0
"""memcached.py PORT CONNECTIONS ITEMS - sets, gets and compares items, one at a time and many at once.

The last line is the number of items that came back right. HOST in the environment: where, if not on this machine.
"""

import os
import random
import socket
import sys
import threading

port, connections, items = (int(word) for word in sys.argv[1:])
right = [0] * connections


def read_value(file, key):
    header = file.readline().split()
    if header[:2] != [b"VALUE", key]:
        raise ValueError(f"{key} is not there: {header}")
    value = file.read(int(header[3]))
    if file.read(2) != b"\r\n":
        raise ValueError("a value has no end")
    return value


def use(number):
    chance = random.Random(number)
    values = {b"%d-%d" % (number, i): chance.randbytes(chance.choice((1, 100, 1000, 100000)))
              for i in range(items)}
    with socket.create_connection((os.environ.get("HOST", "127.0.0.1"), port)) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        file = s.makefile("rb")
        for key, value in values.items():
            s.sendall(b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value))
            if (answer := file.readline()) != b"STORED\r\n":
                raise ValueError(f"set: {answer}")
        for key, value in values.items():
            s.sendall(b"get %s\r\n" % key)
            right[number] += read_value(file, key) == value and file.readline() == b"END\r\n"
        keys = list(values)
        for at in range(0, items, 50):
            some = keys[at:at + 50]
            s.sendall(b"get %s\r\n" % b" ".join(some))
            right[number] += sum(read_value(file, key) == values[key] for key in some)
            if file.readline() != b"END\r\n":
                raise ValueError("many values have no end")


threads = [threading.Thread(target=use, args=(number,)) for number in range(connections)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(sum(right))
