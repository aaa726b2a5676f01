/*
 * A libpcap to link with: its names and its soname in the rpm world, nothing behind them.
 *
 * Debian's libpcap is libpcap.so.0.8; that of EL and SUSE, with the same functions, libpcap.so.1. The oldest that the
 * package is for is EL7's, 1.5.3; a function that the sensor begins to use is not found until it has its line here, which
 * it may have if it was in that version.
 */
#define HAS(name) void name(void) {}

HAS(pcap_activate)
HAS(pcap_close)
HAS(pcap_compile)
HAS(pcap_create)
HAS(pcap_datalink)
HAS(pcap_dispatch)
HAS(pcap_fileno)
HAS(pcap_freecode)
HAS(pcap_get_tstamp_precision)
HAS(pcap_geterr)
HAS(pcap_open_dead)
HAS(pcap_set_buffer_size)
HAS(pcap_set_promisc)
HAS(pcap_set_snaplen)
HAS(pcap_set_timeout)
HAS(pcap_set_tstamp_precision)
HAS(pcap_setfilter)
HAS(pcap_setnonblock)
HAS(pcap_stats)
HAS(pcap_statustostr)
