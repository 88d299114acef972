"""Small proxies for me:secret, SOCKS5 on port 1080, SOCKS5 without UDP on 1081 and HTTP on 3128, and servers to reach
through them."""
import base64, errno, os, select, socket, struct, threading, time

associations = set()


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
    command, kind = exactly(s, 4)[1::2]
    family, size = (socket.AF_INET, 4) if kind == 1 else (socket.AF_INET6, 16)
    address = socket.inet_ntop(family, exactly(s, size))
    port, = struct.unpack('!H', exactly(s, 2))
    if command == 3 and s.getsockname()[1] == 1080:
        return associate(s)
    if command != 1:
        return s.sendall(b'\x05\x07\x00\x01' + bytes(6))
    try:
        to = socket.create_connection((address, port))
    except OSError as e:
        code = {errno.ECONNREFUSED: 5, errno.EHOSTUNREACH: 4, errno.ENETUNREACH: 3}.get(e.errno, 1)
        s.sendall(bytes([5, code, 0, 1, 0, 0, 0, 0, 0, 0]))
        return
    # An answer with a name, which a client has to skip.
    s.sendall(b'\x05\x00\x00\x03\x05proxy\x00\x00')
    relay(s, to)


def associate(s):
    """UDP, until the connection ends; a datagram 'hang up' ends it from here."""
    relay = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    relay.bind((s.getsockname()[0].removeprefix('::ffff:'), 0))
    out = {f: socket.socket(f, socket.SOCK_DGRAM) for f in (socket.AF_INET, socket.AF_INET6)}
    time.sleep(0.3)
    s.sendall(b'\x05\x00\x00\x01' + bytes(4) + struct.pack('!H', relay.getsockname()[1]))
    associations.add(s)
    client = None
    try:
        while True:
            for ready in select.select([s, relay, *out.values()], [], [])[0]:
                if ready is s:
                    return
                data, peer = ready.recvfrom(65536)
                if ready is relay:
                    client = peer
                    assert data[:3] == b'\0\0\0'
                    family, size = (socket.AF_INET, 4) if data[3] == 1 else (socket.AF_INET6, 16)
                    to = (socket.inet_ntop(family, data[4:4 + size]), *struct.unpack('!H', data[4 + size:6 + size]))
                    if data[6 + size:] == b'hang up':
                        return
                    out[family].sendto(data[6 + size:], to)
                else:
                    kind = 1 if ready.family == socket.AF_INET else 4
                    head = bytes([0, 0, 0, kind]) + socket.inet_pton(ready.family, peer[0]) + struct.pack('!H', peer[1])
                    # A fragment and somebody else's datagram, which a client has to drop, come first.
                    relay.sendto(b'\0\0\1' + head[3:] + b'fragment', client)
                    relay.sendto(head[:-1] + bytes([head[-1] ^ 1]) + b'stranger', client)
                    relay.sendto(head + data, client)
    finally:
        associations.discard(s)
        relay.close()
        [o.close() for o in out.values()]


def echo():
    """Datagrams come back with the port that they came from."""
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    s.bind(('::', 7003))
    while True:
        data, peer = s.recvfrom(65536)
        s.sendto(b'%05d ' % peer[1] + data, peer)


def count_associations(s):
    s.sendall(b'%d' % len(associations))
    s.close()


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


for what, port in (socks, 1080), (socks, 1081), (http, 3128), (counts, 7001), (resets, 7002), (count_associations, 7004):
    serve(what, port)
threading.Thread(target=echo, daemon=True).start()
print('ready', flush=True)
