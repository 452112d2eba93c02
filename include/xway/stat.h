/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * stat.h - what xway_front counts.
 *
 * One list for the module that counts and the tool that explains: X(name, what it counts). A
 * counter never goes down as long as it lasts.
 */
#ifndef XWAY_STAT_H
#define XWAY_STAT_H

#define XWAY_STAT_LIST(X)									\
	X(conns_armed, "sockets that were made ready for rings, peer or not")			\
	X(conns_attached, "times that a connection got its slots, and so may use rings")	\
	X(conns_detached, "times that a connection let go of its slots")			\
	X(conns_reset, "connections reset because ring bytes could not be accounted for")	\
	X(hellos_sent, "connections offered to their peer")					\
	X(hellos_received, "connections that a peer has offered")				\
	X(declines_sent, "offered connections that were declined here")				\
	X(declines_received, "offered connections that a peer has declined")			\
	X(links_up, "links that have come up")							\
	X(links_down, "links that have been taken down")					\
	X(links_broken, "links that were cut: the peer was gone, silent or broke the protocol")	\
	X(events, "events from peers: interrupts")						\
	X(events_spurious, "events that brought nothing")					\
	X(kicks, "events sent to peers: hypercalls")						\
	X(msgs_sent, "messages put into control queues")					\
	X(msgs_received, "messages taken from control queues")					\
	X(wakes_sent, "WAKE messages that a sleeping peer had asked for")			\
	X(nudges, "WAKE messages for bytes that nobody had asked to be woken for")		\
	X(stalls, "times that a reader left a full ring alone for so long that TCP took over")	\
	X(switches_to_ring, "times that a sending direction moved to a ring")			\
	X(switches_to_tcp, "times that a sending direction moved back to TCP")			\
	X(rings_grown, "times that a ring was found full and a larger one taken")		\
	X(rings_rested, "times that a connection that did not send gave its ring back")	\
	X(tx_ring_calls, "send calls that ended on a ring")					\
	X(rx_ring_calls, "receive calls of connections that may use rings")			\
	X(tx_ring_bytes, "bytes sent by ring")							\
	X(rx_ring_bytes, "bytes received by ring")						\
	X(tx_tcp_bytes, "bytes sent by TCP on armed connections")				\
	X(rx_tcp_bytes, "bytes received by TCP on armed connections")				\
	X(rx_private_bytes, "bytes copied out of rings as a link went down")			\
	X(sleeps_rx, "times that a receive call slept")						\
	X(sleeps_tx, "times that a send call slept")						\
	X(spins_hit, "looks before a sleep that found what it would have been for")		\
	X(spins_missed, "looks before a sleep that did not")					\
	X(spins_tx, "of both, looks of send calls for room")					\
	X(arena_full, "times that there was no room for a ring")				\
	X(violations, "times that a peer broke the protocol")

#endif /* XWAY_STAT_H */
