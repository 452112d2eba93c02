/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * why.h - why a connection, or one direction of it, is on TCP.
 *
 * One list for the module that counts the reasons and the tool that explains them:
 * X(symbol, name in /proc and JSON, what it means and, where there is one, the remedy).
 */
#ifndef XWAY_WHY_H
#define XWAY_WHY_H

#define XWAY_WHY_LIST(X)									\
	X(NONE, "none", "on the ring, or nothing has been sent yet")				\
	X(LINKING, "linking", "the link to the peer is being set up")				\
	X(WAITING, "waiting", "the peer has not answered: its program has not accepted the "	\
	  "connection, or listened before xway was loaded, or something rewrites addresses, "	\
	  "ports or sequence numbers on the way")						\
	X(NOT_PEER, "not-peer", "the other end is not an xway peer of this host")		\
	X(LOCAL, "local", "both ends are in this guest")					\
	X(EARLIER, "earlier", "opened before xway was loaded, or before the peer was known")	\
	X(NO_FRONTEND, "no-frontend", "the peer has not loaded xway_front")			\
	X(PEER_BUSY, "peer-busy", "the peer has no free slot")					\
	X(PEER_REFUSED, "peer-refused", "the peer's socket does not want a ring")		\
	X(ARENA_FULL, "arena-full", "no room for a ring: raise arena_kib, or lower ring_kib")	\
	X(IDLE, "idle", "nothing has been sent for a while: the next byte takes a ring again")	\
	X(SLOTS_FULL, "slots-full", "no free slot for another connection with this peer: raise slots")	\
	X(NO_MEMORY, "no-memory", "the guest was out of memory")				\
	X(LINK_DOWN, "link-down", "the link to the peer is being taken down")			\
	X(PEER_CLOSED, "peer-closed", "the peer has closed its end")				\
	X(PEER_ASKED, "peer-asked", "the peer asked for TCP")					\
	X(URGENT, "urgent", "the program sent urgent data")					\
	X(ZEROCOPY, "zerocopy", "the program uses MSG_ZEROCOPY")				\
	X(FASTOPEN, "fastopen", "the connection was opened with TCP Fast Open")			\
	X(ULP, "ulp", "the socket has an upper layer protocol (kTLS, for one), or something "	\
	  "else of its own that xway leaves alone (TCP_REPAIR, MD5 signatures, MPTCP)")		\
	X(DISABLED, "disabled", "policy, or the switch `enable`, says no")				\
	X(SHUT, "shut", "the program has shut down both ways")					\
	X(TIMESTAMPS, "timestamps", "the program wants receive timestamps")			\
	X(STALLED, "stalled", "its reader leaves a full ring alone; what follows waits in TCP's "	\
	  "buffers until the ring is read")							\
	X(FLIP, "flip", "the test option flip_ms has it on TCP just now")			\
	X(TOTAL_FULL, "total-full", "no memory is left for a link with this peer: raise total_kib, "	\
	  "or lower arena_kib or slots")

#define XWAY_WHY_ENUM(symbol, name, text) XWAY_WHY_##symbol,
enum xway_why {
	XWAY_WHY_LIST(XWAY_WHY_ENUM)
	XWAY_WHY_COUNT
};
#undef XWAY_WHY_ENUM

#endif /* XWAY_WHY_H */
