# Ways of ending a connection, each played by a client and a server on ordinary sockets. Either side prints what it saw.
#
#     endings.py server BASE           serves row N on port BASE + N, in order, then ends
#     endings.py client ADDRESS BASE   plays the client's part of every row
import errno, fcntl, os, select, signal, socket, struct, sys, termios, time, zlib

TIMEOUT = 30


def text(length):
    return bytes(n * 7 & 255 for n in range(251)) * (length // 251 + 1)


def send(s, length):
    s.sendall(text(length)[:length])


def end(s):
    s.shutdown(socket.SHUT_WR)


def read(s):
    """Bytes to the end, their checksum, and what the end was."""
    count, check = 0, 0
    while True:
        try:
            data = s.recv(65536)
        except OSError as e:
            return count, check, errno.errorcode[e.errno]
        if not data:
            return count, check, "EOF"
        count, check = count + len(data), zlib.crc32(data, check)


def readable(s):
    select.select([s], [], [], TIMEOUT)


def delivered(s):
    """Waits until the peer's kernel, or what stands in its place, has acknowledged everything."""
    while struct.unpack("i", fcntl.ioctl(s, termios.TIOCOUTQ, b"\0" * 4))[0] > 0:
        time.sleep(0.001)


def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def broken(s):
    """Waits until the connection is reset, and takes the error."""
    poll = select.poll()
    poll.register(s, select.POLLERR)
    poll.poll(TIMEOUT * 1000)
    code = s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return errno.errorcode.get(code, code)


def write_until_error(s):
    while True:
        try:
            s.sendall(b"x")
        except OSError as e:
            return errno.errorcode[e.errno]
        time.sleep(0.005)


def in_a_process_that_is_killed(s, action):
    child = os.fork()
    if child == 0:
        action(s)
        os.kill(os.getpid(), 9)
    s.close()
    return os.waitpid(child, 0)[1]


def trickle(s, count, length):
    for _ in range(count):
        send(s, length)
        time.sleep(0.002)


def both(*parts):
    return lambda s: [part(s) for part in parts][-1]


def then(length):
    return lambda s: send(s, length)


# Name, the part of the side that ends or acts first, the part of the other. Each is played from either side.
ROWS = [
    ("graceful close", both(then(5000), end, read), both(read, end, lambda s: "closed")),
    ("half-close with data flowing on", both(then(300_000), end, read),
     both(read, lambda s: trickle(s, 200, 5000), end, lambda s: "sent")),
    ("half-close, answer after a while", both(then(10), end, read),
     both(read, lambda s: time.sleep(0.3), then(200_000), end, lambda s: "sent")),
    ("close of both at once", both(then(1000), end, read), both(then(2000), end, read)),
    ("nothing but two ends", both(end, read), both(read, end, lambda s: "closed")),
    # The byte says that connect() has returned on the other side: before that the reset would be its error.
    ("reset without data", both(lambda s: s.recv(1), reset), both(lambda s: s.sendall(b"x"), read)),
    ("reset after data", both(then(100_000), delivered, reset), read),
    ("reset after data, slow reader", both(then(100_000), delivered, reset), both(lambda s: time.sleep(0.3), read)),
    ("reset after an answer", both(then(1000), readable, lambda s: s.recv(100, socket.MSG_WAITALL), delivered, reset),
     both(lambda s: s.recv(1000, socket.MSG_WAITALL), then(100), read)),
    ("reset after the own end of file", both(then(50), end, lambda s: s.recv(1), reset),
     both(read, lambda s: s.sendall(b"x"), broken)),
    ("reset after the other's end of file", both(read, lambda s: s.sendall(b"x"), delivered, reset),
     both(then(50), end, lambda s: s.recv(1), read)),
    ("close with unread data", both(readable, lambda s: s.close()), both(then(100), read)),
    ("close with unread data, after an end of file", both(readable, lambda s: time.sleep(0.1), lambda s: s.close()),
     both(then(100), end, read)),
    ("data after the other has closed", both(then(10), delivered, lambda s: s.close()), both(read, write_until_error)),
    ("killed", lambda s: in_a_process_that_is_killed(s, then(100_000)), read),
    ("killed with unread data", lambda s: in_a_process_that_is_killed(s, readable), both(then(10), read)),
    ("read direction shut, then closed", both(lambda s: s.shutdown(socket.SHUT_RD), then(10), lambda s: s.close()), read),
    ("much data both ways, then closed", both(then(2_000_000), end, read), both(then(1_500_000), end, read)),
]


def parts(side):
    for name, first, second in ROWS:
        yield f"{name}, client first", first if side == "client" else second
        yield f"{name}, server first", first if side == "server" else second


def play(side, connections):
    for (name, part), s in zip(parts(side), connections):
        s.settimeout(None)
        print(f"{name}: {part(s)}", flush=True)
        try:
            s.close()
        except OSError:
            pass


def server(base):
    count = 2 * len(ROWS)
    listeners = [
        socket.create_server(("::", base + n), family=socket.AF_INET6, dualstack_ipv6=True) for n in range(count)
    ]
    print("ready", flush=True)
    play("server", (listener.accept()[0] for listener in listeners))


def client(address, base):
    play("client", (socket.create_connection((address, base + n), TIMEOUT) for n in range(2 * len(ROWS))))


# Nothing of it is left behind if the other side fails.
signal.alarm(60)
if sys.argv[1] == "rows":
    print(2 * len(ROWS))
elif sys.argv[1] == "server":
    server(int(sys.argv[2]))
else:
    client(sys.argv[2], int(sys.argv[3]))
