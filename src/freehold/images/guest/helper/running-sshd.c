/* What ssh.service runs in a clone: the SSH server that the first program has started (debian.c) becomes the service's,
 * with all that is connected to it. Once: after a restart of the service it is a server as ever. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "helper.h"

#define PID "/run/freehold/sshd.pid"
#define PROGRAM "/usr/sbin/sshd"

static bool runs(int pid) {
    char link[64], target[64] = "";
    snprintf(link, sizeof link, "/proc/%d/exe", pid);
    readlink(link, target, sizeof target - 1);
    return strcmp(target, PROGRAM) == 0;
}

/* Into the control group that this program is in. */
static void join(int pid) {
    char said[512], path[640];
    if (read_file("/proc/self/cgroup", said, sizeof said) < 0 || strncmp(said, "0::/", 4) != 0) return;
    snprintf(path, sizeof path, "/sys/fs/cgroup%.*s/cgroup.procs", (int)strcspn(said + 3, "\n"), said + 3);
    write_file(path, 0644, "%d", pid);
}

/* By the protocol of sd_notify(3). */
static void tell_systemd(int pid) {
    const char *place = getenv("NOTIFY_SOCKET");
    struct sockaddr_un systemd = {AF_UNIX};
    char message[64];
    if (place == NULL || strlen(place) >= sizeof systemd.sun_path) return;
    strcpy(systemd.sun_path, place);
    socklen_t size = offsetof(struct sockaddr_un, sun_path) + strlen(place);
    if (place[0] == '@') systemd.sun_path[0] = 0;
    int any = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int length = sprintf(message, "MAINPID=%d\nREADY=1", pid);
    sendto(any, message, length, 0, (struct sockaddr *)&systemd, size);
    close(any);
}

int main(int count, char **words) {
    char said[32] = "";
    read_file(PID, said, sizeof said);
    unlink(PID);
    int pid = atoi(said);
    if (pid > 0 && runs(pid)) {
        join(pid);
        tell_systemd(pid);
        return 0;
    }
    words[0] = PROGRAM;
    execv(PROGRAM, words);
    return 1;
}
