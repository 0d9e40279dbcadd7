/* The first program of the debian-12 image's initramfs: all else is systemd's. */

#include <unistd.h>

#include "helper.h"

int main(void) {
    int events;
    boot(&events);
    close(events);
    run_init();
    return 1;
}
