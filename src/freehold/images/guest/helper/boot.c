/* The first program of an initramfs, up to the root volume. A template is saved while this waits for one: a launch
 * begins here, where a boot would have been after seconds. */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <unistd.h>

#include "helper.h"

/* The root volume is the first virtio disk, whichever PCI slot it sits in. A boot loader that found the system on a
 * partition says so on the kernel's command line: what the kernel does not know there, it puts into the environment. */
const char *root_device(void) {
    const char *told = getenv("root_volume");
    return told ? told : "/dev/vda";
}

static void prepare(void) {
    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    mount("proc", "/proc", "proc", 0, NULL);
    mount("sysfs", "/sys", "sysfs", 0, NULL);
    int console = open("/dev/console", O_RDWR);
    for (int number = 0; number < 3; number++) dup2(console, number);
    if (console > 2) close(console);
}

/* What is not used is told to the host in pieces of 128 KiB. With the usual ones of 2 MiB, Linux tells of nothing in a
 * machine that has less than 64 MiB free (page_reporting_process_zone of its mm/page_reporting.c). */
static void report_small_pieces(void) {
    const char *order = "/sys/module/page_reporting/parameters/page_reporting_order";
    if (exists(order)) write_file(order, 0644, "5");
}

static void mount_root(void) {
    const char *const kept[] = {"/dev", "/proc", "/sys"};
    char target[32];
    while (mount(root_device(), "/newroot", "ext4", MS_NOATIME, "discard") != 0) {
        say("freehold: the root volume can not be mounted");
        sleep(5);
    }
    for (int each = 0; each < 3; each++) {
        snprintf(target, sizeof target, "/newroot%s", kept[each]);
        mount(kept[each], target, NULL, MS_MOVE, NULL);
    }
    chdir("/newroot");
    mount(".", "/", NULL, MS_MOVE, NULL);
    chroot(".");
    chdir("/");
}

bool boot(int *events) {
    prepare();
    *events = open_events();
    load_modules("/modules");
    report_small_pieces();
    if (!exists(root_device())) say("freehold: waiting for a root volume");
    bool clone = wait_for(*events, root_device(), -1);
    if (clone) wake_up();
    mount_root();
    return clone;
}

void run_init(void) {
    execl("/sbin/init", "init", NULL);
    restart("the root volume has no init");
}
