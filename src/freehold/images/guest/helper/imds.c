/* The metadata service, version 2 (docs.aws.amazon.com, EC2 User Guide, "Use the Instance Metadata Service"). */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "helper.h"

#define HOST "169.254.169.254"

int imds_tries = 1;

static char token[256];

/* One request on a connection of its own; HTTP/1.0, so that the end of the answer is the end of the connection. Returns
 * the status, 0 if there was no whole answer. */
static int ask_once(const char *method, const char *path, const char *header, char *body, size_t size, ptrdiff_t *length) {
    /* A connection is tried again soon: the first packets may come before the network is ready for them. */
    struct timeval connecting = {0, 300000}, answering = {5, 0};
    struct sockaddr_in service = {AF_INET, htons(80), {inet_addr(HOST)}};
    static char answer[65536];
    size_t received = 0;
    ssize_t count = -1;
    int connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &connecting, sizeof connecting);
    setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &answering, sizeof answering);
    if (connect(connection, (struct sockaddr *)&service, sizeof service) == 0) {
        dprintf(connection, "%s /latest/%s HTTP/1.0\r\nHost: " HOST "\r\n%s\r\n\r\n", method, path, header);
        while ((count = recv(connection, answer + received, sizeof answer - 1 - received, 0)) > 0) received += count;
    }
    close(connection);
    answer[received] = 0;
    char *text = strstr(answer, "\r\n\r\n");
    if (count != 0 || text == NULL || strncmp(answer, "HTTP/1.", 7) != 0) return 0;
    int status = atoi(answer + 9);
    text += 4;
    *length = received - (text - answer);
    if (status != 200) return status; /* what it says of that may be longer than what was asked for */
    if (*length > (ptrdiff_t)size - 1) return 0;
    memcpy(body, text, *length);
    body[*length] = 0;
    return status;
}

/* What is not answered may be asked again: keys and user data are asked for once in an instance's life. */
static ptrdiff_t ask(const char *method, const char *path, const char *header, char *body, size_t size) {
    ptrdiff_t length;
    for (int each = 0; each < imds_tries; each++) {
        int status = ask_once(method, path, header, body, size, &length);
        if (status == 200) return length;
        if (status != 0 && status < 500) return -1;
        usleep(each < 5 ? 50000 : 500000);
    }
    return -2;
}

bool imds_token(void) {
    const char *header = "X-aws-ec2-metadata-token-ttl-seconds: 21600\r\nContent-Length: 0";
    if (ask("PUT", "api/token", header, token, sizeof token) <= 0) return false;
    return strspn(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=+/.") == strlen(token);
}

ptrdiff_t imds(const char *path, char *body, size_t size) {
    char header[sizeof token + 64];
    snprintf(header, sizeof header, "X-aws-ec2-metadata-token: %s", token);
    return ask("GET", path, header, body, size);
}
