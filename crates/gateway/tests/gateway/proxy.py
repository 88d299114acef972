"""Two small proxies, SOCKS5 on port 1080 and HTTP on 3128, both for me:secret, and two servers to reach through them."""
import base64, errno, os, socket, struct, threading, time


def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    s.close()


def exactly(s, n):
    data = b''
    while len(data) < n:
        more = s.recv(n - len(data))
        if not more:
            raise ConnectionError
        data += more
    return data


def relay(a, b):
    lock, dead = threading.Lock(), []

    def one(source, to):
        try:
            while data := source.recv(65536):
                to.sendall(data)
            to.shutdown(socket.SHUT_WR)
        except OSError:
            with lock:
                if not dead:
                    dead.append(1)
                    time.sleep(0.2)
                    for s in (a, b):
                        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
                        s.shutdown(socket.SHUT_RD) if s is not source else None
    threads = [threading.Thread(target=one, args=pair) for pair in ((a, b), (b, a))]
    [t.start() for t in threads]
    [t.join() for t in threads]
    a.close()
    b.close()


def socks(s):
    count = exactly(s, 2)[1]
    methods = exactly(s, count)
    if 2 not in methods:
        s.sendall(b'\x05\xff')
        return
    s.sendall(b'\x05\x02')
    user = exactly(s, exactly(s, 2)[1])
    password = exactly(s, exactly(s, 1)[0])
    if (user, password) != (b'me', b'secret'):
        s.sendall(b'\x01\x01')
        return
    s.sendall(b'\x01\x00')
    kind = exactly(s, 4)[3]
    family, size = (socket.AF_INET, 4) if kind == 1 else (socket.AF_INET6, 16)
    address = socket.inet_ntop(family, exactly(s, size))
    port, = struct.unpack('!H', exactly(s, 2))
    try:
        to = socket.create_connection((address, port))
    except OSError as e:
        code = {errno.ECONNREFUSED: 5, errno.EHOSTUNREACH: 4, errno.ENETUNREACH: 3}.get(e.errno, 1)
        s.sendall(bytes([5, code, 0, 1, 0, 0, 0, 0, 0, 0]))
        return
    # An answer with a name, which a client has to skip.
    s.sendall(b'\x05\x00\x00\x03\x05proxy\x00\x00')
    relay(s, to)


def http(s):
    head = b''
    while not head.endswith(b'\r\n\r\n'):
        head += exactly(s, 1)
    host, port = head.split()[1].decode().rsplit(':', 1)
    if base64.b64encode(b'me:secret') not in head:
        s.sendall(b'HTTP/1.1 407 Proxy Authentication Required\r\n\r\n')
        return
    try:
        to = socket.create_connection((host.strip('[]'), int(port)))
    except OSError:
        s.sendall(b'HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n')
        return
    s.sendall(b'HTTP/1.1 200 Connection established\r\nVia: proxy\r\n\r\n')
    relay(s, to)


def counts(s):
    n = 0
    while data := s.recv(65536):
        n += len(data)
    s.sendall(b'%d' % n + bytes(300000))
    s.close()


def resets(s):
    s.recv(1)
    s.sendall(bytes(1000))
    time.sleep(0.3)
    reset(s)


def serve(serve_one, port):
    listener = socket.create_server(('::', port), family=socket.AF_INET6, dualstack_ipv6=True)

    def one(s):
        try:
            serve_one(s)
        except OSError:
            pass
        finally:
            s.close()

    def loop():
        while True:
            threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()
    threading.Thread(target=loop).start()


for what, port in (socks, 1080), (http, 3128), (counts, 7001), (resets, 7002):
    serve(what, port)
print('ready', flush=True)
