/* Devices as they come: the kernel's events (netlink(7), NETLINK_KOBJECT_UEVENT) wake us, sysfs says what there is. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "helper.h"

#define NETLINK_KOBJECT_UEVENT 15
#define GROUP_KERNEL 1

struct sockaddr_nl {
    unsigned short family, pad;
    uint32_t pid, groups;
};

/* Opened before the drivers are loaded, so that no event is missed. */
int open_events(void) {
    struct sockaddr_nl kernel = {AF_NETLINK, 0, 0, GROUP_KERNEL};
    int events = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);
    bind(events, (struct sockaddr *)&kernel, sizeof kernel);
    return events;
}

/* Whether it had to be waited for. `seconds_max` < 0: for ever. */
bool wait_for(int events, const char *path, int seconds_max) {
    char event[8192];
    bool waited = false;
    while (!exists(path)) {
        struct pollfd ready = {events, POLLIN, 0};
        if (poll(&ready, 1, seconds_max < 0 ? -1 : 1000 * seconds_max) == 0) restart("a device did not come");
        while (recv(events, event, sizeof event, 0) > 0 || errno == ENOBUFS) continue;
        waited = true;
    }
    return waited;
}

/* `order` names the modules, each after those that it needs. They are removed: their memory is the guest's. */
void load_modules(const char *directory) {
    char order[2048], path[512];
    snprintf(path, sizeof path, "%s/order", directory);
    if (read_file(path, order, sizeof order) < 0) return;
    for (char *name = strtok(order, "\n"); name != NULL; name = strtok(NULL, "\n")) {
        snprintf(path, sizeof path, "%s/%s", directory, name);
        int module = open(path, O_RDONLY | O_CLOEXEC);
        if (syscall(SYS_finit_module, module, "", 0) != 0) say("freehold: cannot load %s", name);
        close(module);
        unlink(path);
    }
}
