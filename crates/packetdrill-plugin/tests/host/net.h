/* What the host needs of IP and TCP: building a peer's segments, reading the stack's. */
#ifndef NET_H
#define NET_H
#include <stdint.h>
#include <string.h>
#include <arpa/inet.h>

enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16, URG = 32 };

struct seen {
	int v6, len, flags, window, options_len;
	uint32_t seq, ack;
	uint16_t sport, dport;
	uint8_t src[16], dst[16], options[40];
	long long time;
};

struct peer {
	int v6;
	uint8_t ours[16], theirs[16]; /* ours: the stack's address */
	uint16_t our_port, their_port;
	uint32_t isn, next; /* the stack's first number; the peer's next */
};

static uint32_t sum16(const uint8_t *p, size_t n, uint32_t sum)
{
	for (; n > 1; n -= 2, p += 2)
		sum += (uint32_t)p[0] << 8 | p[1];
	return n ? sum + ((uint32_t)p[0] << 8) : sum;
}

static uint16_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static uint16_t tcp_sum(int v6, const uint8_t *src, const uint8_t *dst, const uint8_t *tcp, size_t n)
{
	size_t address = v6 ? 16 : 4;
	uint32_t sum = sum16(src, address, 0);
	sum = sum16(dst, address, sum) + 6 + (uint32_t)(n >> 16) + (uint32_t)(n & 0xffff);
	return fold(sum16(tcp, n, sum));
}

static void put16(uint8_t *p, uint16_t v) { p[0] = v >> 8; p[1] = (uint8_t)v; }
static void put32(uint8_t *p, uint32_t v) { put16(p, v >> 16); put16(p + 2, (uint16_t)v); }
static uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static uint32_t get32(const uint8_t *p) { return (uint32_t)get16(p) << 16 | get16(p + 2); }

/* A segment of the peer; returns its length. */
static size_t segment(uint8_t *out, const struct peer *p, int flags, uint32_t seq, uint32_t ack,
		      const uint8_t *options, size_t options_len, size_t len)
{
	size_t ip = p->v6 ? 40 : 20, tcp_len = 20 + options_len + len, total = ip + tcp_len;
	uint8_t *tcp = out + ip;
	memset(out, 0, total);
	if (p->v6) {
		out[0] = 0x60;
		put16(out + 4, (uint16_t)tcp_len);
		out[6] = 6;
		out[7] = 64;
		memcpy(out + 8, p->theirs, 16);
		memcpy(out + 24, p->ours, 16);
	} else {
		out[0] = 0x45;
		put16(out + 2, (uint16_t)total);
		out[8] = 64;
		out[9] = 6;
		memcpy(out + 12, p->theirs, 4);
		memcpy(out + 16, p->ours, 4);
		put16(out + 10, fold(sum16(out, 20, 0)));
	}
	put16(tcp, p->their_port);
	put16(tcp + 2, p->our_port);
	put32(tcp + 4, seq);
	put32(tcp + 8, flags & ACK ? ack : 0);
	tcp[12] = (uint8_t)((20 + options_len) / 4 << 4);
	tcp[13] = (uint8_t)flags;
	put16(tcp + 14, 65535);
	memcpy(tcp + 20, options, options_len);
	put16(tcp + 16, tcp_sum(p->v6, p->theirs, p->ours, tcp, tcp_len));
	return total;
}

/* Reads a packet of the stack; 0 if it is not a whole one with right checksums. */
static int parse(struct seen *s, const uint8_t *in, size_t n)
{
	size_t ip, total;
	const uint8_t *tcp;
	memset(s, 0, sizeof *s);
	s->v6 = in[0] >> 4 == 6;
	ip = s->v6 ? 40 : 20;
	total = s->v6 ? 40u + get16(in + 4) : get16(in + 2);
	if (total != n || n < ip + 20 || (!s->v6 && (in[0] != 0x45 || fold(sum16(in, 20, 0)))))
		return 0;
	memcpy(s->src, s->v6 ? in + 8 : in + 12, s->v6 ? 16 : 4);
	memcpy(s->dst, s->v6 ? in + 24 : in + 16, s->v6 ? 16 : 4);
	tcp = in + ip;
	if (tcp_sum(s->v6, s->src, s->dst, tcp, n - ip))
		return 0;
	s->sport = get16(tcp);
	s->dport = get16(tcp + 2);
	s->seq = get32(tcp + 4);
	s->ack = get32(tcp + 8);
	s->flags = tcp[13];
	s->window = get16(tcp + 14);
	s->options_len = (tcp[12] >> 4) * 4 - 20;
	memcpy(s->options, tcp + 20, (size_t)s->options_len);
	s->len = (int)(n - ip) - 20 - s->options_len;
	return 1;
}
#endif
