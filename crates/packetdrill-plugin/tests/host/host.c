/* A host that loads the plug-in as packetdrill does, and looks at it through the table alone.
 * Usage: host LIBRARY TEST. Exit status 0: the test holds. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>
#include "net.h"

#define CHECK(what) \
	do { \
		if (!(what)) { \
			fprintf(stderr, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #what, errno); \
			exit(1); \
		} \
	} while (0)

typedef void *word;
static word table[33];
static void *library;

/* Functions by their place in the table, with the type that a caller gives them. */
#define AT(offset, result, ...) ((result (*)(void *, ##__VA_ARGS__))table[(offset) / 8])
#define U table[0]
static void free_run(void) { AT(8, void)(U); }
static int p_socket(int d, int t) { return AT(16, int, int, int, int)(U, d, t, 0); }
static int p_bind(int fd, const void *a, socklen_t n) { return AT(24, int, int, const void *, socklen_t)(U, fd, a, n); }
static int p_listen(int fd, int n) { return AT(32, int, int, int)(U, fd, n); }
static int p_accept(int fd, void *a, socklen_t *n) { return AT(40, int, int, void *, socklen_t *)(U, fd, a, n); }
static int p_connect(int fd, const void *a, socklen_t n) { return AT(48, int, int, const void *, socklen_t)(U, fd, a, n); }
static ssize_t p_read(int fd, void *b, size_t n) { return AT(56, ssize_t, int, void *, size_t)(U, fd, b, n); }
static ssize_t p_readv(int fd, const struct iovec *v, int n) { return AT(64, ssize_t, int, const struct iovec *, int)(U, fd, v, n); }
static ssize_t p_recvfrom(int fd, void *b, size_t n, int f, void *a, socklen_t *l) { return AT(80, ssize_t, int, void *, size_t, int, void *, socklen_t *)(U, fd, b, n, f, a, l); }
static ssize_t p_recvmsg(int fd, struct msghdr *m, int f) { return AT(88, ssize_t, int, struct msghdr *, int)(U, fd, m, f); }
static ssize_t p_write(int fd, const void *b, size_t n) { return AT(96, ssize_t, int, const void *, size_t)(U, fd, b, n); }
static ssize_t p_writev(int fd, const struct iovec *v, int n) { return AT(104, ssize_t, int, const struct iovec *, int)(U, fd, v, n); }
static ssize_t p_sendto(int fd, const void *b, size_t n, int f, const void *a, socklen_t l) { return AT(120, ssize_t, int, const void *, size_t, int, const void *, socklen_t)(U, fd, b, n, f, a, l); }
static ssize_t p_sendmsg(int fd, const struct msghdr *m, int f) { return AT(128, ssize_t, int, const struct msghdr *, int)(U, fd, m, f); }
static int p_fcntl(int fd, int c, long a) { return ((int (*)(void *, int, int, ...))table[17])(U, fd, c, a); }
static int p_getfl(int fd) { return ((int (*)(void *, int, int, ...))table[17])(U, fd, F_GETFL); }
static int p_ioctl(int fd, unsigned long r, void *a) { return ((int (*)(void *, int, unsigned long, ...))table[18])(U, fd, r, a); }
static int p_close(int fd) { return AT(152, int, int)(U, fd); }
static int p_getsockopt(int fd, int l, int n, void *v, socklen_t *s) { return AT(168, int, int, int, int, void *, socklen_t *)(U, fd, l, n, v, s); }
static int p_setsockopt(int fd, int l, int n, const void *v, socklen_t s) { return AT(176, int, int, int, int, const void *, socklen_t)(U, fd, l, n, v, s); }
static int p_poll(struct pollfd *f, nfds_t n, int t) { return AT(184, int, struct pollfd *, nfds_t, int)(U, f, n, t); }
static int p_send_packet(const void *p, size_t n) { return AT(192, int, const void *, size_t)(U, p, n); }
static int p_receive(void *b, size_t *n, long long *t) { return AT(200, int, void *, size_t *, long long *)(U, b, n, t); }
static int p_usleep(unsigned t) { return AT(208, int, unsigned)(U, t); }
static int p_epoll_create(int n) { return AT(224, int, int)(U, n); }
static int p_epoll_ctl(int e, int o, int fd, struct epoll_event *v) { return AT(232, int, int, int, int, struct epoll_event *)(U, e, o, fd, v); }
static int p_epoll_wait(int e, struct epoll_event *v, int n, int t) { return AT(240, int, int, struct epoll_event *, int, int)(U, e, v, n, t); }
static int p_pipe(int *e) { return AT(248, int, int *)(U, e); }
static int p_splice(int a, loff_t *x, int b, loff_t *y, size_t n, unsigned f) { return AT(256, int, int, loff_t *, int, loff_t *, size_t, unsigned)(U, a, x, b, y, n, f); }

static long long now_us(void)
{
	struct timeval t;
	CHECK(AT(216, int, struct timeval *, void *)(U, &t, NULL) == 0);
	return t.tv_sec * 1000000LL + t.tv_usec;
}

static void init(const char *flags)
{
	void (*entry)(const char *, void *) =
		(void (*)(const char *, void *))dlsym(library, "packetdrill_interface_init");
	CHECK(entry);
	memset(table, 0, sizeof table);
	entry(flags, table);
	for (int i = 0; i < 33; i++)
		CHECK(table[i]);
}

static struct peer peer_of(int v6)
{
	struct peer p = { .v6 = v6, .our_port = 8080, .their_port = 40000, .next = 1000 };
	if (v6) {
		CHECK(inet_pton(AF_INET6, "fd3d:a0b:17d6::1", p.ours) && inet_pton(AF_INET6, "fd3d:fa7b:d17d::1", p.theirs));
	} else {
		CHECK(inet_pton(AF_INET, "192.168.0.1", p.ours) && inet_pton(AF_INET, "192.0.2.1", p.theirs));
	}
	return p;
}

/* A segment of the peer, numbers relative to both first ones. The packet's memory is ruined after the call. */
static void inject(struct peer *p, int flags, uint32_t seq, uint32_t ack, const void *options, size_t n, size_t len)
{
	uint8_t *packet = malloc(200 + n + len);
	CHECK(packet);
	size_t total = segment(packet, p, flags, 1000 + seq, p->isn + ack, options, n, len);
	CHECK(p_send_packet(packet, total) == 0);
	memset(packet, 0xff, total);
	free(packet);
}

static struct seen receive(struct peer *p)
{
	static uint8_t packet[65536];
	struct seen s;
	size_t len = sizeof packet;
	long long time = -1;
	CHECK(p_receive(packet, &len, &time) == 0);
	CHECK(len > 0 && parse(&s, packet, len));
	s.time = time;
	if (s.flags & SYN) {
		p->isn = s.seq;
		p->our_port = s.sport;
		memcpy(p->ours, s.src, 16);
	}
	s.seq -= p->isn;
	if (s.flags & ACK)
		s.ack -= 1000;
	return s;
}

static void expect(struct peer *p, int flags, uint32_t seq, int len, uint32_t ack)
{
	struct seen s = receive(p);
	/* Where data is expected, window updates may come before it. */
	while (len && !s.len)
		s = receive(p);
	if (s.flags != flags || s.seq != seq || s.len != len || s.ack != ack) {
		fprintf(stderr, "flags %x seq %u len %d ack %u, wanted %x %u %d %u\n", s.flags, s.seq, s.len, s.ack,
			flags, seq, len, ack);
		exit(1);
	}
}

static const uint8_t mss[4] = { 2, 4, 1000 >> 8, 1000 & 255 };

/* mode: 4, 6, or 46 for IPv4 in IPv6 clothes */
static socklen_t address(struct sockaddr_storage *out, int mode, const uint8_t *ip, uint16_t port)
{
	memset(out, 0, sizeof *out);
	if (mode == 4) {
		struct sockaddr_in *v4 = (struct sockaddr_in *)out;
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		memcpy(&v4->sin_addr, ip, 4);
		return sizeof *v4;
	}
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons(port);
	if (mode == 6) {
		memcpy(&v6->sin6_addr, ip, 16);
	} else {
		v6->sin6_addr.s6_addr[10] = v6->sin6_addr.s6_addr[11] = 0xff;
		memcpy(v6->sin6_addr.s6_addr + 12, ip, 4);
	}
	return sizeof *v6;
}

static int listener(struct peer *p, int mode)
{
	struct sockaddr_storage a;
	int fd = p_socket(mode == 4 ? AF_INET : AF_INET6, SOCK_STREAM), on = 1;
	CHECK(fd > 2);
	CHECK(p_setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0);
	CHECK(p_bind(fd, &a, address(&a, mode, p->ours, 8080)) == 0);
	CHECK(p_listen(fd, 1) == 0);
	return fd;
}

static int accepted(struct peer *p, int mode, int *listening)
{
	struct sockaddr_storage a, wanted;
	socklen_t len = sizeof a;
	*listening = listener(p, mode);
	inject(p, SYN, 0, 0, mss, 4, 0);
	expect(p, SYN | ACK, 0, 0, 1);
	inject(p, ACK, 1, 1, NULL, 0, 0);
	int fd = p_accept(*listening, &a, &len);
	CHECK(fd > 2 && fd != *listening);
	CHECK(len == address(&wanted, mode, p->theirs, 40000) && memcmp(&a, &wanted, len) == 0);
	return fd;
}

static int open_fds(void)
{
	int n = 0;
	DIR *d = opendir("/proc/self/fd");
	CHECK(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* A server in all three families: options, PSH, read, write, FIN. */
static void test_families(void)
{
	static const int modes[] = { 4, 6, 46 };
	for (int i = 0; i < 3; i++) {
		int mode = modes[i], l;
		struct peer p = peer_of(mode == 6);
		char buffer[4000];
		init(NULL);
		int fd = accepted(&p, mode, &l);
		inject(&p, PSH | ACK, 1, 1, NULL, 0, 1000);
		expect(&p, ACK, 1, 0, 1001);
		CHECK(p_read(fd, buffer, sizeof buffer) == 1000);
		CHECK(p_write(fd, buffer, 2500) == 2500);
		expect(&p, ACK, 1, 1000, 1001);
		expect(&p, ACK, 1001, 1000, 1001);
		expect(&p, PSH | ACK, 2001, 500, 1001);
		inject(&p, ACK, 1001, 2501, NULL, 0, 0);
		CHECK(p_close(fd) == 0);
		expect(&p, FIN | ACK, 2501, 0, 1001);
		CHECK(p_close(l) == 0);
		free_run();
	}
}

/* An active open: the address it chooses, the options in Linux's order, and connect in its three ways. */
static void test_connect(void)
{
	static const uint8_t kinds[] = { 2, 4, 8, 1, 3 };
	for (int v6 = 0; v6 < 2; v6++) {
		struct peer p = peer_of(v6);
		struct sockaddr_storage a;
		init("sysctl=ignore");
		int fd = p_socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK);
		socklen_t len = address(&a, v6 ? 6 : 4, p.theirs, 8080);
		CHECK(p_connect(fd, &a, len) == -1 && errno == EINPROGRESS);
		struct seen s = receive(&p);
		CHECK(s.flags == SYN && s.dport == 8080 && s.window == 65535);
		CHECK(memcmp(s.src, p.ours, v6 ? 16 : 4) == 0);
		for (int at = 0, i = 0; at < s.options_len; i++) {
			CHECK(i < 5 && s.options[at] == kinds[i]);
			if (kinds[i] == 2)
				CHECK(get16(s.options + at + 2) == 1460);
			if (kinds[i] == 3)
				CHECK(s.options[at + 2] == 8);
			at += s.options[at] == 1 ? 1 : s.options[at + 1];
		}
		p.their_port = 8080;
		inject(&p, SYN | ACK, 0, 1, mss, 4, 0);
		expect(&p, ACK, 1, 0, 1);
		CHECK(p_connect(fd, &a, len) == 0);
		/* Disconnect. */
		memset(&a, 0, sizeof a);
		CHECK(p_connect(fd, &a, 128) == 0);
		expect(&p, RST | ACK, 1, 0, 1);
		free_run();
		close(fd);
	}
}

/* Descriptors are the kernel's: what a script leaves open is closed with the system's close, then one RST comes for each
 * connection, then free; and again in the same process. */
static void test_descriptors(void)
{
	struct stat st;
	int before = open_fds();
	for (int run = 0; run < 3; run++) {
		struct peer p = peer_of(0);
		int l, ends[2];
		init(run == 1 ? "" : NULL);
		int fd = accepted(&p, 4, &l);
		CHECK(fstat(fd, &st) == 0 && fstat(l, &st) == 0);
		CHECK(p_pipe(ends) == 0 && ends[0] > 2 && ends[1] > 2);
		int gone = p_socket(AF_INET, SOCK_STREAM), epfd = p_epoll_create(1);
		CHECK(p_close(gone) == 0 && fstat(gone, &st) == -1 && errno == EBADF);
		CHECK(p_close(gone) == -1 && errno == EBADF);
		CHECK(epfd > 2);
		CHECK(close(fd) == 0 && close(l) == 0);
		/* The number is another file's now: free must leave it alone. */
		int other = open("/dev/null", O_RDONLY);
		CHECK(other >= 0);
		inject(&p, RST | ACK, 1, 1, NULL, 0, 0);
		inject(&p, RST | ACK, 1, 1, NULL, 0, 0);
		free_run();
		CHECK(fstat(other, &st) == 0);
		close(other);
	}
	CHECK(open_fds() == before);
}

/* Outputs that come filled with the right answer are written all the same. */
static void test_prefilled(void)
{
	struct peer p = peer_of(0);
	int l;
	init(NULL);
	int fd = accepted(&p, 4, &l);
	struct pollfd f[2] = { { .fd = fd, .events = POLLIN, .revents = POLLIN }, { .fd = -1, .events = POLLIN, .revents = POLLIN } };
	CHECK(p_poll(f, 2, 0) == 0 && f[0].revents == 0 && f[1].revents == 0);
	char data[100], control[64];
	memset(control, 0x55, sizeof control);
	struct iovec v = { data, sizeof data };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = 40, .msg_flags = MSG_CTRUNC };
	inject(&p, PSH | ACK, 1, 1, NULL, 0, 10);
	CHECK(p_recvmsg(fd, &m, 0) == 10 && m.msg_controllen == 0 && m.msg_flags == 0);
	m.msg_controllen = 40;
	m.msg_flags = MSG_CTRUNC;
	CHECK(p_recvmsg(fd, &m, MSG_DONTWAIT) == -1 && errno == EAGAIN && m.msg_controllen == 0 && m.msg_flags == 0);
	/* With TCP_INQ there is a control message. */
	int on = 1;
	CHECK(p_setsockopt(fd, IPPROTO_TCP, 36, &on, 4) == 0);
	inject(&p, PSH | ACK, 11, 1, NULL, 0, 10);
	v.iov_len = 4;
	m.msg_controllen = sizeof control;
	CHECK(p_recvmsg(fd, &m, 0) == 4 && m.msg_controllen == CMSG_SPACE(4));
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	int left;
	memcpy(&left, CMSG_DATA(c), 4);
	CHECK(c->cmsg_level == SOL_TCP && c->cmsg_type == 36 && c->cmsg_len == CMSG_LEN(4) && left == 6);
	/* The error queue: what was sent with MSG_ZEROCOPY. */
	CHECK(p_setsockopt(fd, SOL_SOCKET, 60, &on, 4) == 0);
	CHECK(p_sendto(fd, data, 10, MSG_ZEROCOPY, NULL, 0) == 10);
	inject(&p, ACK, 21, 11, NULL, 0, 0);
	f[0].revents = 0;
	CHECK(p_poll(f, 1, 0) == 1 && f[0].revents == (POLLIN | POLLERR));
	v.iov_len = 0;
	m.msg_controllen = sizeof control;
	memset(control, 0x55, sizeof control);
	CHECK(p_recvmsg(fd, &m, MSG_ERRQUEUE) == 0 && m.msg_flags == MSG_ERRQUEUE && m.msg_controllen == CMSG_SPACE(32));
	c = CMSG_FIRSTHDR(&m);
	static const uint8_t error[16] = { 0, 0, 0, 0, 5, 0, 1 };
	CHECK(c->cmsg_level == SOL_IP && c->cmsg_type == 11 && c->cmsg_len == CMSG_LEN(32));
	CHECK(memcmp(CMSG_DATA(c), error, sizeof error) == 0);
	free_run();
}

/* No packet: back with 0 and an empty one, at once in wall time. */
static void test_silence(void)
{
	struct peer p = peer_of(0);
	int l;
	uint8_t packet[2000];
	size_t len = sizeof packet;
	long long time;
	init(NULL);
	accepted(&p, 4, &l);
	CHECK(p_receive(packet, &len, &time) == 0 && len == 0);
	free_run();
}

/* The clock moves by itself only when it is looked at, and packets carry the time they were sent. */
static void test_clock(void)
{
	struct peer p = peer_of(0);
	int l;
	init(NULL);
	int fd = accepted(&p, 4, &l);
	long long start = now_us(), end = start + 20;
	int looks = 0;
	while (now_us() < end)
		CHECK(++looks < 100);
	start = now_us();
	CHECK(p_write(fd, "x", 1) == 1);
	expect(&p, PSH | ACK, 1, 1, 1);
	CHECK(p_usleep(3000000) == 0);
	long long later = now_us();
	CHECK(later >= start + 3000000 && later < start + 3000100);
	/* Repeats at about 200 and 600 ms: fetched late, stamped right, in order. */
	struct seen a = receive(&p), b = receive(&p);
	CHECK(a.seq == 1 && b.seq == 1 && a.time < b.time);
	CHECK(a.time > start + 150000 && a.time < start + 250000 && b.time < start + 700000);
	inject(&p, ACK, 1, 2, NULL, 0, 0);
	for (int hour = 0; hour < 25; hour++)
		CHECK(p_usleep(3600000000u) == 0);
	CHECK(now_us() > start + 25 * 3600000000LL);
	free_run();
}

struct blocked {
	int fd;
	_Atomic int tid;
	ssize_t result;
	long long end;
};

static void *read_in_thread(void *arg)
{
	struct blocked *b = arg;
	char buffer[100];
	b->tid = (int)syscall(SYS_gettid);
	b->result = p_read(b->fd, buffer, sizeof buffer);
	b->end = now_us();
	return NULL;
}

static void wait_for_sleep(struct blocked *b)
{
	char path[64], line[512], *state;
	for (;;) {
		if (!b->tid)
			continue;
		snprintf(path, sizeof path, "/proc/self/task/%d/stat", b->tid);
		FILE *f = fopen(path, "r");
		CHECK(f && fgets(line, sizeof line, f));
		fclose(f);
		state = strrchr(line, ')');
		if (state && state[2] == 'S')
			return;
	}
}

/* A blocked call sleeps, and the clock waits for it to see when it has returned. */
static void test_blocking(void)
{
	struct peer p = peer_of(0);
	int l;
	pthread_t thread;
	init(NULL);
	struct blocked b = { .fd = accepted(&p, 4, &l) };
	/* Satisfied by a packet. */
	CHECK(pthread_create(&thread, NULL, read_in_thread, &b) == 0);
	wait_for_sleep(&b);
	CHECK(p_usleep(300000) == 0);
	long long sent = now_us();
	inject(&p, PSH | ACK, 1, 1, NULL, 0, 10);
	CHECK(p_usleep(1000000) == 0);
	long long later = now_us();
	CHECK(pthread_join(thread, NULL) == 0);
	CHECK(b.result == 10 && b.end >= sent && b.end <= sent + 2);
	CHECK(later >= sent + 1000000);
	/* Satisfied by a timer on the way of a long sleep. */
	struct timeval limit = { 0, 500000 };
	CHECK(p_setsockopt(b.fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
	b.tid = 0;
	CHECK(pthread_create(&thread, NULL, read_in_thread, &b) == 0);
	wait_for_sleep(&b);
	long long start = now_us();
	CHECK(p_usleep(10000000) == 0);
	later = now_us();
	CHECK(pthread_join(thread, NULL) == 0);
	CHECK(b.result == -1 && b.end >= start + 499000 && b.end <= start + 501000);
	CHECK(later >= start + 10000000 && later <= start + 10000100);
	free_run();
}

/* Arguments as packetdrill gives them. */
static void test_arguments(void)
{
	struct peer p = peer_of(0);
	int l, value = -1, ends[2];
	char buffer[30000];
	struct sockaddr_storage a;
	init(NULL);
	int fd = accepted(&p, 4, &l);
	CHECK(p_getfl(fd) == O_RDWR);
	CHECK(p_fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) == 0 && p_getfl(fd) == (O_RDWR | O_NONBLOCK));
	CHECK(p_read(fd, buffer, 10) == -1 && errno == EAGAIN);
	/* A packet larger than any MTU. */
	inject(&p, PSH | ACK, 1, 1, NULL, 0, 20000);
	CHECK(p_ioctl(fd, FIONREAD, &value) == 0 && value == 20000);
	CHECK(p_read(fd, NULL, 1000) == -1 && errno == EFAULT);
	struct iovec v[2] = { { buffer, 5000 }, { buffer + 5000, 5000 } };
	CHECK(p_readv(fd, v, 2) == 10000);
	socklen_t len = sizeof a;
	CHECK(p_recvfrom(fd, buffer, sizeof buffer, 0, &a, &len) == 10000 && len == 0);
	/* Lengths of values: shorter is an error, longer is believed only as far as the option goes. */
	value = 1;
	CHECK(p_setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, 3) == -1 && errno == EINVAL);
	CHECK(p_setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, 4096) == 0);
	/* A peer's address on a connected socket. */
	len = address(&a, 4, p.theirs, 40000);
	CHECK(p_sendto(fd, buffer, 10, 0, &a, len) == 10);
	expect(&p, PSH | ACK, 1, 10, 20001);
	struct msghdr m = { .msg_name = &a, .msg_namelen = len, .msg_iov = v, .msg_iovlen = 2 };
	v[0].iov_len = v[1].iov_len = 50;
	CHECK(p_sendmsg(fd, &m, MSG_NOSIGNAL) == 100);
	expect(&p, PSH | ACK, 11, 100, 20001);
	CHECK(p_writev(fd, v, 2) == 100);
	CHECK(p_write(fd, NULL, 10) == -1 && errno == EFAULT);
	CHECK(p_setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4) == 0);
	len = 16;
	CHECK(p_getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, buffer, &len) == 0 && len == 16 && !strcmp(buffer, "reno"));
	/* Offsets are pointers to zero. */
	loff_t zero = 0, one = 1;
	CHECK(p_pipe(ends) == 0 && p_write(ends[1], buffer, 300) == 300);
	CHECK(p_splice(ends[0], &one, fd, &zero, 300, 0) == -1 && errno == ESPIPE);
	CHECK(p_splice(ends[0], &zero, fd, &zero, 300, 0) == 300);
	/* Epoll events are packed. */
	int epfd = p_epoll_create(1);
	struct epoll_event e = { .events = EPOLLOUT, .data.u64 = 0x1122334455667788 }, got[2];
	CHECK(p_epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &e) == 0);
	CHECK(p_epoll_wait(epfd, got, 2, 0) == 1 && got[0].events == EPOLLOUT && got[0].data.u64 == e.data.u64);
	free_run();
}

/* Every destination is taken as local: a closed port answers before any bind. */
static void test_closed(void)
{
	for (int v6 = 0; v6 < 2; v6++) {
		struct peer p = peer_of(v6);
		init(NULL);
		p.ours[3] = 77;
		inject(&p, SYN, 0, 0, mss, 4, 0);
		expect(&p, RST | ACK, 0, 0, 1);
		free_run();
	}
}

/* With the plug-in preloaded the C library's getsockopt asks the stack; other descriptors go to the kernel. */
static void test_preload(void)
{
	struct peer p = peer_of(0);
	int l, value;
	uint8_t info[280];
	init(NULL);
	int fd = accepted(&p, 4, &l);
	socklen_t len = sizeof info;
	CHECK(getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &len) == 0 && len == 280 && info[0] == TCP_ESTABLISHED);
	memcpy(&value, info + 80, 4);
	CHECK(value == 10);
	len = 20;
	CHECK(getsockopt(fd, IPPROTO_TCP, 26, info, &len) == 0);
	len = 36;
	CHECK(getsockopt(fd, SOL_SOCKET, 55, info, &len) == 0 && len == 36);
	int kernel = socket(AF_INET, SOCK_DGRAM, 0);
	len = sizeof value;
	CHECK(getsockopt(kernel, SOL_SOCKET, SO_TYPE, &value, &len) == 0 && value == SOCK_DGRAM);
	CHECK(getsockopt(l + 1000, SOL_SOCKET, SO_TYPE, &value, &len) == -1 && errno == EBADF);
	/* So does sendfile: to the stack, with and without an offset; to another file. */
	int file = memfd_create("data", 0), copy = memfd_create("copy", 0);
	off_t from = 10;
	char zeros[500] = { 0 };
	CHECK(write(file, zeros, sizeof zeros) == sizeof zeros && lseek(file, 0, SEEK_SET) == 0);
	CHECK(sendfile(fd, file, &from, 100) == 100 && from == 110 && lseek(file, 0, SEEK_CUR) == 0);
	expect(&p, PSH | ACK, 1, 100, 1);
	inject(&p, ACK, 1, 101, NULL, 0, 0);
	CHECK(sendfile(fd, file, NULL, 1000) == 500 && lseek(file, 0, SEEK_CUR) == 500);
	expect(&p, PSH | ACK, 101, 500, 1);
	CHECK(sendfile(fd, file, NULL, 1000) == 0);
	CHECK(sendfile(fd, -1, NULL, 10) == -1 && errno == EBADF);
	from = 0;
	CHECK(sendfile(copy, file, &from, 20) == 20 && from == 20);
	inject(&p, RST | ACK, 1, 601, NULL, 0, 0);
	CHECK(sendfile(fd, file, &from, 20) == -1 && errno == ECONNRESET && from == 20);
	free_run();
	CHECK(getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &len) == -1);
}

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");
	CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

/* Settings of the namespace are read when a socket is made, not before. */
static void test_sysctl(void)
{
	struct peer p = peer_of(0);
	struct sockaddr_storage a;
	CHECK(unshare(CLONE_NEWNET) == 0);
	init(NULL);
	write_file("/proc/sys/net/ipv4/tcp_timestamps", "0");
	write_file("/proc/sys/net/ipv4/tcp_rmem", "4096 540000 15728640");
	int fd = p_socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK);
	socklen_t len = address(&a, 4, p.theirs, 8080);
	CHECK(p_connect(fd, &a, len) == -1 && errno == EINPROGRESS);
	struct seen s = receive(&p);
	/* mss, nop, nop, sackOK, nop, wscale */
	static const uint8_t wanted[] = { 2, 4, 1460 >> 8, 1460 & 255, 1, 1, 4, 2, 1, 3, 3, 8 };
	CHECK(s.options_len == sizeof wanted && memcmp(s.options, wanted, sizeof wanted) == 0);
	write_file("/proc/sys/net/ipv4/tcp_sack", "0");
	write_file("/proc/sys/net/ipv4/tcp_window_scaling", "0");
	fd = p_socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK);
	CHECK(p_connect(fd, &a, len) == -1 && errno == EINPROGRESS);
	CHECK(receive(&p).options_len == 4);
	free_run();
	/* A flag counts for more. */
	init("tcp_timestamps=1 ipv4-mtu=1400");
	fd = p_socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK);
	CHECK(p_connect(fd, &a, len) == -1 && errno == EINPROGRESS);
	s = receive(&p);
	CHECK(s.options_len == 16 && get16(s.options + 2) == 1360);
	free_run();
}

/* Fast Open of a client: the namespace's tcp_fastopen is read when a socket is made, sendto with MSG_FASTOPEN asks for a
 * cookie and then uses it. */
static void test_fast_open(void)
{
	static const uint8_t asks[] = { 34, 2, 1, 1 };
	static const uint8_t cookie[] = { 2, 4, 1000 >> 8, 1000 & 255, 34, 6, 0xa1, 0xb2, 0xc3, 0xd4, 1, 1 };
	static const uint8_t data[2000];
	for (int v6 = 0; v6 < 2; v6++) {
		struct peer p = peer_of(v6);
		struct sockaddr_storage a;
		int family = v6 ? AF_INET6 : AF_INET, on = 1;
		CHECK(unshare(CLONE_NEWNET) == 0);
		init(NULL);
		write_file("/proc/sys/net/ipv4/tcp_fastopen", "0");
		int fd = p_socket(family, SOCK_STREAM | SOCK_NONBLOCK);
		socklen_t len = address(&a, v6 ? 6 : 4, p.theirs, 8080);
		CHECK(p_sendto(fd, data, 100, MSG_FASTOPEN, &a, len) == -1 && errno == EOPNOTSUPP);
		CHECK(p_close(fd) == 0);
		write_file("/proc/sys/net/ipv4/tcp_fastopen", "1");
		fd = p_socket(family, SOCK_STREAM | SOCK_NONBLOCK);
		CHECK(p_sendto(fd, data, 100, MSG_FASTOPEN, &a, len) == -1 && errno == EINPROGRESS);
		struct seen s = receive(&p);
		CHECK(s.flags == SYN && s.len == 0 && s.options_len == 24);
		CHECK(memcmp(s.options + 20, asks, sizeof asks) == 0);
		p.their_port = 8080;
		inject(&p, SYN | ACK, 0, 1, cookie, sizeof cookie, 0);
		expect(&p, ACK, 1, 0, 1);
		CHECK(p_close(fd) == 0);
		expect(&p, FIN | ACK, 1, 0, 1);
		fd = p_socket(family, SOCK_STREAM | SOCK_NONBLOCK);
		CHECK(p_sendto(fd, data, sizeof data, MSG_FASTOPEN, &a, len) == 960);
		s = receive(&p);
		CHECK(s.flags == SYN && s.len == 960 && s.options_len == 28);
		CHECK(memcmp(s.options + 20, cookie + 4, 8) == 0);
		inject(&p, SYN | ACK, 0, 961, mss, 4, 0);
		expect(&p, ACK, 961, 0, 1);
		/* connect that waits for the first write. */
		fd = p_socket(family, SOCK_STREAM | SOCK_NONBLOCK);
		CHECK(p_setsockopt(fd, SOL_TCP, TCP_FASTOPEN_CONNECT, &on, sizeof on) == 0);
		CHECK(p_connect(fd, &a, len) == 0);
		CHECK(p_write(fd, data, 100) == 100);
		s = receive(&p);
		CHECK(s.flags == SYN && s.len == 100);
		free_run();
	}
}

/* With the wall clock a thread lets timers act; a packet's time is the clock's. */
static void test_real(void)
{
	struct peer p = peer_of(0);
	int l;
	pthread_t thread;
	init("clock=real,patience=1");
	struct blocked b = { .fd = accepted(&p, 4, &l) };
	long long start = now_us();
	CHECK(p_write(b.fd, "x", 1) == 1);
	expect(&p, PSH | ACK, 1, 1, 1);
	struct seen s = receive(&p);
	CHECK(s.flags == (PSH | ACK) && s.seq == 1 && s.time > start && s.time <= now_us());
	inject(&p, ACK, 1, 2, NULL, 0, 0);
	CHECK(pthread_create(&thread, NULL, read_in_thread, &b) == 0);
	wait_for_sleep(&b);
	inject(&p, PSH | ACK, 1, 2, NULL, 0, 10);
	CHECK(pthread_join(thread, NULL) == 0 && b.result == 10);
	free_run();
}

/* All memory is locked: a run has to be small. */
static void test_memory(void)
{
	struct peer p = peer_of(0);
	char line[256];
	long before = 0, after = 0, *into = &before;
	int l;
	for (int i = 0; i < 2; i++, into = &after) {
		FILE *f = fopen("/proc/self/status", "r");
		CHECK(f);
		while (fgets(line, sizeof line, f))
			sscanf(line, "VmLck: %ld", into);
		fclose(f);
		if (i == 0) {
			init(NULL);
			accepted(&p, 4, &l);
		}
	}
	CHECK(before > 0 && after - before < 2048);
	free_run();
}

/* The state of every thread but this one; how many there are. */
static int threads(char states[16])
{
	char path[300], line[512];
	int n = 0;
	DIR *d = opendir("/proc/self/task");
	CHECK(d);
	for (struct dirent *e; (e = readdir(d));) {
		if (e->d_name[0] == '.' || atoi(e->d_name) == (int)syscall(SYS_gettid))
			continue;
		snprintf(path, sizeof path, "/proc/self/task/%s/stat", e->d_name);
		FILE *f = fopen(path, "r");
		if (!f)
			continue;
		CHECK(fgets(line, sizeof line, f) && n < 16);
		fclose(f);
		char *state = strrchr(line, ')');
		CHECK(state);
		states[n++] = state[2];
	}
	closedir(d);
	return n;
}

/* Real-time threads that spin would starve the machine: with the virtual clock there is none, with the real one it sleeps. */
static void test_threads(void)
{
	struct peer p = peer_of(0);
	char states[16];
	int l, awake = 0;
	struct timespec pause = { 0, 5000000 };
	init(NULL);
	accepted(&p, 4, &l);
	CHECK(threads(states) == 0);
	free_run();
	init("clock=real");
	p = peer_of(0);
	int fd = accepted(&p, 4, &l);
	CHECK(threads(states) == 1);
	for (int i = 0; i < 40; i++) {
		/* Half of the time with a timer that is due again and again. */
		if (i == 20)
			CHECK(p_write(fd, "x", 1) == 1);
		nanosleep(&pause, NULL);
		CHECK(threads(states) == 1);
		awake += states[0] != 'S';
	}
	CHECK(awake < 20);
	free_run();
	/* It ends with its run. */
	for (int i = 0; threads(states) > 0; i++) {
		CHECK(i < 1000);
		nanosleep(&pause, NULL);
	}
}

/* packetdrill spins for 100 ms on the system's and the plug-in's clock before it begins: the looks move a virtual clock, by
 * a microsecond each, and events then have their places behind the last look. */
static void test_startup(void)
{
	struct peer p = peer_of(0);
	struct timeval begin, real;
	int l, looks = 0;
	init(NULL);
	long long first = now_us(), last = first;
	gettimeofday(&begin, NULL);
	do {
		long long now = now_us();
		CHECK(now == last + 1);
		last = now;
		looks++;
		gettimeofday(&real, NULL);
	} while ((real.tv_sec - begin.tv_sec) * 1000000LL + real.tv_usec - begin.tv_usec < 100000);
	CHECK(last - first == looks);
	long long start = last + 250;
	while (now_us() < start)
		;
	int fd = accepted(&p, 4, &l);
	CHECK(p_usleep((unsigned)(start + 500000 - now_us() - 20)) == 0);
	while (now_us() < start + 500000)
		;
	CHECK(p_write(fd, "x", 1) == 1);
	struct seen s = receive(&p);
	CHECK(s.len == 1 && s.time >= start + 500000 && s.time < start + 500010);
	free_run();
}

/* Congestion control is what the namespace says, where lastack has it, else CUBIC; a script may choose any that lastack has,
 * whatever the host allows its namespaces. */
static void test_congestion(void)
{
	char name[16];
	socklen_t len = sizeof name;
	CHECK(unshare(CLONE_NEWNET) == 0);
	/* The namespace's is the host's now, whatever that is. */
	init(NULL);
	int fd = p_socket(AF_INET, SOCK_STREAM);
	CHECK(p_getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len) == 0);
	CHECK(!strcmp(name, "cubic") || !strcmp(name, "reno") || !strcmp(name, "bbr") || !strcmp(name, "dctcp"));
	write_file("/proc/sys/net/ipv4/tcp_congestion_control", "reno");
	fd = p_socket(AF_INET, SOCK_STREAM);
	len = sizeof name;
	CHECK(p_getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len) == 0 && !strcmp(name, "reno"));
	CHECK(p_setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5) == 0);
	len = sizeof name;
	CHECK(p_getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len) == 0 && !strcmp(name, "cubic"));
	CHECK(p_setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "nothing", 7) == -1 && errno == ENOENT);
	free_run();
}

/* The machine's HZ does not show in timers. Two runs give the same times to the microsecond. */
static void test_tick(void)
{
	long long first[6];
	for (int run = 0; run < 2; run++) {
		struct peer p = peer_of(0);
		int l;
		init("sysctl=ignore");
		int fd = accepted(&p, 4, &l);
		CHECK(p_usleep(1237) == 0 && p_write(fd, "x", 1) == 1);
		long long sent = receive(&p).time, before = sent;
		for (int i = 0; i < 6; i++) {
			struct seen s = receive(&p);
			CHECK(s.seq == 1 && s.len == 1);
			long long wait = s.time - before;
			if (run == 0)
				first[i] = wait;
			CHECK(wait == first[i]);
			/* Each is the one before, doubled, in a wheel of milliseconds, by which the first is late: HZ=250 would be off by
			 * up to eight. */
			if (i > 0)
				CHECK(llabs(wait - 2 * first[i - 1]) < (i == 1 ? 2000 : 1000));
			before = s.time;
		}
		free_run();
	}
}

/* A packet from nowhere to nowhere, as the original sends it when a socket is only bound: dropped, and nothing else is
 * disturbed. */
static void test_nowhere(void)
{
	for (int v6 = 0; v6 < 2; v6++) {
		struct peer p = peer_of(v6), nowhere = p;
		struct sockaddr_storage a;
		uint8_t packet[2000];
		size_t len = sizeof packet;
		long long time;
		memset(nowhere.ours, 0, 16);
		memset(nowhere.theirs, 0, 16);
		init(NULL);
		int fd = p_socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM);
		CHECK(p_bind(fd, &a, address(&a, v6 ? 6 : 4, p.ours, 8080)) == 0);
		inject(&nowhere, SYN, 0, 0, mss, 4, 0);
		CHECK(p_receive(packet, &len, &time) == 0 && len == 0);
		/* With the right addresses it is answered: nobody listens. */
		inject(&p, SYN, 0, 0, mss, 4, 0);
		expect(&p, RST | ACK, 0, 0, 1);
		CHECK(p_listen(fd, 1) == 0);
		inject(&p, SYN, 0, 0, mss, 4, 0);
		expect(&p, SYN | ACK, 0, 0, 1);
		free_run();
	}
}

/* Nothing of a namespace but its settings is needed: no interface, no address, no route. */
static void test_bare(void)
{
	CHECK(unshare(CLONE_NEWNET) == 0);
	test_families();
	test_connect();
}

static void test_flags(void)
{
	init("colour=red");
}

int main(int argc, char **argv)
{
	static const struct { const char *name; void (*run)(void); } tests[] = {
		{ "families", test_families }, { "connect", test_connect }, { "descriptors", test_descriptors },
		{ "prefilled", test_prefilled }, { "silence", test_silence }, { "clock", test_clock },
		{ "blocking", test_blocking }, { "arguments", test_arguments }, { "closed", test_closed },
		{ "preload", test_preload }, { "sysctl", test_sysctl }, { "real", test_real },
		{ "memory", test_memory }, { "flags", test_flags }, { "threads", test_threads },
		{ "startup", test_startup }, { "congestion", test_congestion }, { "tick", test_tick },
		{ "nowhere", test_nowhere }, { "bare", test_bare }, { "fast_open", test_fast_open },
	};
	CHECK(argc == 3);
	/* As packetdrill: real-time priority where the machine allows it, all memory locked, then the plug-in. */
	struct sched_param lowest = { .sched_priority = sched_get_priority_min(SCHED_RR) };
	if (sysconf(_SC_NPROCESSORS_ONLN) > 1)
		(void)sched_setscheduler(0, SCHED_RR, &lowest);
	CHECK(mlockall(MCL_CURRENT | MCL_FUTURE) == 0);
	library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND | RTLD_NODELETE);
	if (!library) {
		fprintf(stderr, "%s\n", dlerror());
		return 1;
	}
	for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
		if (!strcmp(argv[2], tests[i].name)) {
			tests[i].run();
			return 0;
		}
	fprintf(stderr, "no test %s\n", argv[2]);
	return 1;
}
