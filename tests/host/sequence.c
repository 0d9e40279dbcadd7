/* The initial sequence number of a connection that has the same addresses and ports in every guest, less the clock that
 * the kernel adds (net/core/secure_seq.c): what is left depends on the kernel's secret alone. */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

int main(void) {
    struct sockaddr_in from = {AF_INET, htons(40001), {htonl(0x7f000001)}}, to = {AF_INET, htons(40002), {htonl(0x7f000001)}};
    unsigned char packet[128];
    char shown[9] = "00000000";
    struct timespec now;
    int packets = socket(AF_PACKET, SOCK_DGRAM, htons(0x0800)), connection = socket(AF_INET, SOCK_STREAM, 0);
    bind(connection, (struct sockaddr *)&from, sizeof from);
    clock_gettime(CLOCK_REALTIME, &now);
    connect(connection, (struct sockaddr *)&to, sizeof to);
    do recv(packets, packet, sizeof packet, 0);
    while (packet[9] != 6 || packet[20] != 0x9c || packet[21] != 0x41 || !(packet[33] & 2));
    unsigned sequence = packet[24] << 24 | packet[25] << 16 | packet[26] << 8 | packet[27];
    sequence -= (now.tv_sec * 1000000000ul + now.tv_nsec) >> 6;
    for (int place = 0; place < 8; place++) shown[place] = "0123456789abcdef"[sequence >> (28 - 4 * place) & 15];
    shown[8] = '\n';
    write(1, shown, 9);
    return 0;
}
