/* An address by DHCP (RFC 2131, options of RFC 2132, routes of RFC 3442), and the interface as the lease says. */

#include <arpa/inet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <netpacket/packet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "helper.h"

#define DISCOVER 1
#define OFFER 2
#define REQUEST 3
#define ACK 5
#define FIRST_TRIES 20 /* soon after each other: the network may not be ready yet */
#define TRY_MILLISECONDS 100
#define LATER_TRY_MILLISECONDS 1000

/* linux/rtnetlink.h, linux/if_link.h */
#define NETLINK_ROUTE 0
#define GROUP_LINK 1
#define NEW_LINK 16
#define ATTRIBUTE_EVENT 44
#define EVENT_NOTIFY_PEERS 4

struct sockaddr_nl {
    unsigned short family, pad;
    uint32_t pid, groups;
};

struct link_message {
    uint32_t length;
    uint16_t type, flags;
    uint32_t sequence, pid;
    uint8_t family, pad;
    uint16_t hardware;
    int32_t index;
    uint32_t interface_flags, change;
    uint8_t attributes[];
};

struct packet {
    struct iphdr ip;
    struct udphdr udp;
    uint8_t op, hardware, hardware_length, hops;
    uint32_t transaction;
    uint16_t elapsed, flags;
    uint32_t client, yours, next, relay;
    uint8_t client_hardware[16], server_name[64], file[128];
    uint32_t cookie;
    uint8_t options[312];
} __attribute__((packed));

static uint16_t checksum(const void *data, size_t length) {
    const uint16_t *word = data;
    uint32_t sum = 0;
    for (size_t each = 0; each < length / 2; each++) sum += word[each];
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    return ~sum;
}

/* The value of an option of at least `length` bytes, or NULL; its own length is the byte before. */
static const uint8_t *option(const struct packet *packet, size_t received, uint8_t code, uint8_t length) {
    const uint8_t *at = packet->options, *end = (const uint8_t *)packet + received;
    while (at < end && *at != 255) {
        if (*at == 0) {
            at++;
            continue;
        }
        if (at + 2 > end || at + 2 + at[1] > end) return NULL;
        if (*at == code) return at[1] >= length ? at + 2 : NULL;
        at += 2 + at[1];
    }
    return NULL;
}

static uint32_t address_in(const uint8_t *bytes) {
    uint32_t address = 0;
    if (bytes != NULL) memcpy(&address, bytes, 4);
    return address;
}

static void send_message(int socket, const struct sockaddr_ll *to, const uint8_t *mac, uint32_t transaction, int kind,
                         const struct lease *offered) {
    static const uint8_t wanted[] = {55, 8, 1, 3, 6, 15, 26, 51, 54, 121};
    struct packet packet = {{0}};
    uint8_t *at = packet.options;
    packet.op = 1;
    packet.hardware = 1;
    packet.hardware_length = 6;
    packet.transaction = transaction;
    memcpy(packet.client_hardware, mac, 6);
    packet.cookie = htonl(0x63825363);
    *at++ = 53, *at++ = 1, *at++ = kind;
    if (kind == REQUEST) {
        *at++ = 50, *at++ = 4, memcpy(at, &offered->address, 4), at += 4;
        *at++ = 54, *at++ = 4, memcpy(at, &offered->server, 4), at += 4;
    }
    memcpy(at, wanted, sizeof wanted), at += sizeof wanted;
    *at++ = 255;
    packet.udp.uh_sport = htons(68);
    packet.udp.uh_dport = htons(67);
    packet.udp.uh_ulen = htons(sizeof packet - sizeof packet.ip);
    packet.ip.version = 4;
    packet.ip.ihl = 5;
    packet.ip.ttl = 64;
    packet.ip.protocol = IPPROTO_UDP;
    packet.ip.daddr = INADDR_BROADCAST;
    packet.ip.tot_len = htons(sizeof packet);
    packet.ip.check = checksum(&packet.ip, sizeof packet.ip);
    sendto(socket, &packet, sizeof packet, 0, (const struct sockaddr *)to, sizeof *to);
}

/* Whether a packet is the answer that is waited for; the lease is then what it says. */
static bool read_answer(const struct packet *packet, size_t received, uint32_t transaction, int kind,
                        struct lease *lease) {
    if (received < offsetof(struct packet, options) || packet->ip.ihl != 5 || packet->ip.protocol != IPPROTO_UDP)
        return false;
    if (packet->udp.uh_dport != htons(68) || packet->op != 2 || packet->transaction != transaction) return false;
    const uint8_t *said = option(packet, received, 53, 1);
    if (said == NULL || *said != kind) return false;

    memset(lease, 0, sizeof *lease);
    lease->address = packet->yours;
    lease->server = address_in(option(packet, received, 54, 4));
    lease->mask = address_in(option(packet, received, 1, 4));
    lease->router = address_in(option(packet, received, 3, 4));
    lease->seconds = ntohl(address_in(option(packet, received, 51, 4)));
    const uint8_t *value = option(packet, received, 26, 2);
    lease->mtu = value == NULL ? 0 : value[0] << 8 | value[1];
    if ((value = option(packet, received, 6, 4)) != NULL)
        for (int each = 0; each < 3 && 4 * each + 4 <= value[-1]; each++)
            lease->resolvers[each] = address_in(value + 4 * each);
    if ((value = option(packet, received, 15, 1)) != NULL) memcpy(lease->domain, value, value[-1]);
    if ((value = option(packet, received, 121, 5)) != NULL) {
        const uint8_t *end = value + value[-1];
        while (value < end && lease->routes_count < 16) {
            int bits = *value++, bytes = (bits + 7) / 8;
            if (bits > 32 || value + bytes + 4 > end) break;
            uint8_t network[4] = {0};
            memcpy(network, value, bytes);
            lease->routes[lease->routes_count].to = address_in(network);
            lease->routes[lease->routes_count].mask = bits ? htonl(0xffffffffu << (32 - bits)) : 0;
            lease->routes[lease->routes_count++].gateway = address_in(value + bytes);
            value += bytes + 4;
        }
    }
    return true;
}

static bool exchange(int socket, const struct sockaddr_ll *to, const uint8_t *mac, uint32_t transaction, int kind,
                     struct lease *lease, int milliseconds) {
    struct packet packet;
    struct pollfd ready = {socket, POLLIN, 0};
    send_message(socket, to, mac, transaction, kind, lease);
    while (poll(&ready, 1, milliseconds) > 0) {
        ssize_t received = recv(socket, &packet, sizeof packet, 0);
        if (received > 0 && read_answer(&packet, received, transaction, kind == DISCOVER ? OFFER : ACK, lease)) return true;
    }
    return false;
}

static int control(int request, const char *interface, struct ifreq *values) {
    int any = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    strncpy(values->ifr_name, interface, IFNAMSIZ - 1);
    int result = ioctl(any, request, values);
    close(any);
    return result;
}

bool ask_for_lease(const char *interface, struct lease *lease, int tries) {
    struct ifreq hardware = {{{0}}};
    struct sockaddr_ll everybody = {AF_PACKET, htons(ETH_P_IP), if_nametoindex(interface), 0, 0, 6,
                                    {255, 255, 255, 255, 255, 255}};
    uint32_t transaction;
    bool leased = false;
    control(SIOCGIFHWADDR, interface, &hardware);
    int packets = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons(ETH_P_IP));
    bind(packets, (struct sockaddr *)&everybody, sizeof everybody);
    for (int each = 0; each < tries && !leased; each++) {
        const uint8_t *mac = (const uint8_t *)hardware.ifr_hwaddr.sa_data;
        int patience = each < FIRST_TRIES ? TRY_MILLISECONDS : LATER_TRY_MILLISECONDS;
        getrandom(&transaction, sizeof transaction, 0);
        leased = exchange(packets, &everybody, mac, transaction, DISCOVER, lease, patience) &&
                 exchange(packets, &everybody, mac, transaction, REQUEST, lease, LATER_TRY_MILLISECONDS);
    }
    close(packets);
    return leased;
}

void link_up(const char *interface) {
    struct ifreq values = {{{0}}};
    control(SIOCGIFFLAGS, interface, &values);
    values.ifr_flags |= IFF_UP;
    control(SIOCSIFFLAGS, interface, &values);
}

static struct sockaddr internet(uint32_t address) {
    struct sockaddr_in value = {AF_INET, 0, {address}};
    struct sockaddr general;
    memcpy(&general, &value, sizeof general);
    return general;
}

static void add_route(const char *interface, uint32_t to, uint32_t mask, uint32_t gateway, int metric) {
    struct rtentry route = {0};
    route.rt_dst = internet(to & mask);
    route.rt_genmask = internet(mask);
    route.rt_gateway = internet(gateway);
    route.rt_flags = RTF_UP | (gateway ? RTF_GATEWAY : 0) | (mask == 0xffffffff ? RTF_HOST : 0);
    route.rt_metric = metric + 1;
    route.rt_dev = (char *)interface;
    int any = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ioctl(any, SIOCADDRT, &route); /* fails where it is there already */
    close(any);
}

/* With classless routes the router is ignored: the default route is one of them. */
void use_lease(const char *interface, const struct lease *lease, int metric) {
    struct ifreq values = {{{0}}};
    values.ifr_addr = internet(lease->address);
    control(SIOCSIFADDR, interface, &values);
    values.ifr_netmask = internet(lease->mask);
    control(SIOCSIFNETMASK, interface, &values);
    values.ifr_broadaddr = internet(lease->address | ~lease->mask);
    control(SIOCSIFBRDADDR, interface, &values);
    if (lease->mtu) {
        values.ifr_mtu = lease->mtu;
        control(SIOCSIFMTU, interface, &values);
    }
    for (int each = 0; each < lease->routes_count; each++)
        add_route(interface, lease->routes[each].to, lease->routes[each].mask, lease->routes[each].gateway,
                  metric);
    if (!lease->routes_count && lease->router) add_route(interface, 0, 0, lease->router, metric);
}

int open_announcements(void) {
    struct sockaddr_nl kernel = {AF_NETLINK, 0, 0, GROUP_LINK};
    int announcements = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_ROUTE);
    bind(announcements, (struct sockaddr *)&kernel, sizeof kernel);
    return announcements;
}

/* Whether a network card has been told to say again who it is: the host does that when a guest has slept. */
static bool is_announcement(const uint8_t *bytes, ssize_t received) {
    const struct link_message *message = (const struct link_message *)bytes;
    if (received < (ssize_t)sizeof *message || message->type != NEW_LINK) return false;
    const uint8_t *at = message->attributes, *end = bytes + received;
    while (at + 8 <= end) {
        uint16_t length, kind;
        uint32_t value;
        memcpy(&length, at, 2);
        memcpy(&kind, at + 2, 2);
        memcpy(&value, at + 4, 4);
        if (kind == ATTRIBUTE_EVENT) return value == EVENT_NOTIFY_PEERS;
        if (length < 4) return false;
        at += (length + 3) & ~3;
    }
    return false;
}

/* False: none came in that time. */
bool wait_for_announcement(int announcements, int seconds_max) {
    uint8_t bytes[8192];
    time_t end = time(NULL) + seconds_max;
    for (;;) {
        struct pollfd ready = {announcements, POLLIN, 0};
        time_t left = end - time(NULL);
        if (left <= 0 || left > seconds_max || poll(&ready, 1, 1000 * left) == 0) return false;
        if (is_announcement(bytes, recv(announcements, bytes, sizeof bytes, 0))) return true;
    }
}
