/* The first program of the micro image, and all that makes its machine the instance that the metadata service says it
 * is. It lies in the initramfs: a template is saved while it waits for a root volume, so a launch begins where a boot
 * would have been after seconds.
 *
 *     drivers ─ wait for the root volume ─ mount it ─┬─ init (the console, the power button)
 *                                                     └─ host key, address, IMDS: name, keys ─ SSH ─ user data ─ lease
 *
 * What is done once for an instance leaves its mark on the root volume, so that it is not done again after a reboot or
 * a stop and start. */

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>
#include <arpa/inet.h>

#include "helper.h"

#define CARD "eth0"
#define NO_IPV6 "/proc/sys/net/ipv6/conf/" CARD "/disable_ipv6"
#define STATE "/var/lib/freehold"
#define ALONE_SECONDS_MAX 10
#define PLUG_SECONDS_MAX 30
#define LEAST_PRIORITY 19

/* fs/ext4/ext4.h */
#define EXT4_IOC_RESIZE_FS 0x40086610

static char text[65536];

static void mount_the_rest(void) {
    mkdir("/dev/pts", 0755);
    mkdir("/dev/shm", 01777);
    mount("devpts", "/dev/pts", "devpts", 0, "gid=5,mode=620");
    mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=20%");
    mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777,size=20%");
}

/* A file system as large as its volume; nothing happens where it is. */
static void grow_root(void) {
    uint64_t bytes = 0;
    struct statvfs root;
    int volume = open(root_device(), O_RDONLY | O_CLOEXEC), system = open("/", O_RDONLY | O_CLOEXEC);
    if (ioctl(volume, BLKGETSIZE64, &bytes) == 0 && fstatvfs(system, &root) == 0) {
        uint64_t blocks = bytes / root.f_bsize;
        if (ioctl(system, EXT4_IOC_RESIZE_FS, &blocks) != 0)
            say("freehold-micro: cannot grow the root file system to %llu blocks", (unsigned long long)blocks);
    }
    close(volume);
    close(system);
}

static void write_resolver(const struct lease *lease) {
    int length = 0;
    if (lease->domain[0]) length += sprintf(text, "search %s\n", lease->domain);
    for (int each = 0; each < 3 && lease->resolvers[each]; each++)
        length += sprintf(text + length, "nameserver %s\n", inet_ntoa((struct in_addr){lease->resolvers[each]}));
    write_file("/etc/resolv.conf", 0644, "%s", text);
    text[0] = 0;
}

static void take_address(int tries) {
    struct lease lease;
    if (!ask_for_lease(CARD, &lease, tries)) return;
    use_lease(CARD, &lease, 0);
    write_resolver(&lease);
}

/* For ever: half of a lease's time after another (RFC 2131, section 4.4.5), and when the guest has slept. */
static void keep_address(void) {
    int announcements = open_announcements();
    for (;;) {
        if (wait_for_announcement(announcements, 1800)) set_clock();
        take_address(30);
    }
}

/* The instance's id; empty if the metadata service does not answer. */
static void ask_who_i_am(char *id, size_t size) {
    if (!imds_token() || imds("meta-data/instance-id", id, size) < 0) say("freehold-micro: no answer from the metadata service");
    if (!consists_of(id, "abcdefghijklmnopqrstuvwxyz0123456789-")) id[0] = 0;
}

/* The image has none of the two files: it costs a guest less to make one than to replace one. */
static void take_name(bool asked, char *name, size_t size) {
    bool told = asked && instance_name(name, size);
    if (!told && read_file("/etc/hostname", name, size) < 0) snprintf(name, size, "freehold");
    name[strcspn(name, "\n")] = 0;
    if (told || !exists("/etc/hosts")) {
        write_file("/etc/hostname", 0644, "%s\n", name);
        write_file("/etc/hosts", 0644, "127.0.0.1 localhost\n127.0.1.1 %s %.*s\n", name, (int)strcspn(name, "."), name);
    }
    sethostname(name, strlen(name));
}

static void write_keys(const char *home, int owner) {
    char path[128];
    mkdir(home, 0755);
    snprintf(path, sizeof path, "%s/.ssh", home);
    mkdir(path, 0700);
    chown(path, owner, owner);
    snprintf(path, sizeof path, "%s/.ssh/authorized_keys", home);
    write_file(path, 0600, "%s", text);
    chown(path, owner, owner);
}

/* The instance's keys, for root and ec2-user. */
static void take_keys(void) {
    public_keys(text, sizeof text);
    write_keys("/root", 0);
    write_keys("/home/ec2-user", 1000);
}

/* Marked as done before it runs: a script that reboots the machine must not run again. */
static void run_user_data(const char *done) {
    char path[128], mark[128];
    snprintf(mark, sizeof mark, "%s/user-data-done", done);
    if (exists(mark)) return;
    ptrdiff_t length = imds("user-data", text, sizeof text);
    snprintf(path, sizeof path, "%s/user-data", done);
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
    if (length > 0) write(file, text, length);
    close(file);
    write_file(mark, 0644, "");
    if (length < 2 || strncmp(text, "#!", 2) != 0) return;
    pid_t child = fork();
    if (child == 0) {
        execl("/etc/rc.user-data", "/etc/rc.user-data", path, NULL);
        _exit(127);
    }
    waitpid(child, NULL, 0);
}

/* Dropbear starts itself anew for each connection, if it finds itself by the name that it was started by: a second exec,
 * dynamic link and translation, which delay each banner by 0.2 s. By this name, of a directory, it does not. */
static void start_ssh(void) {
    const char *const command[] = {"/usr/sbin/dropbear/", "-s", "-r", DROPBEAR_KEY, NULL};
    waitpid(start("/usr/sbin/dropbear", command), NULL, 0); /* it goes on in the background */
}

/* `alone` is closed once there is nothing that init's programs would delay. In a clone the card comes, or never will. */
static void become_instance(bool clone, int events, int alone) {
    char id[64] = "", before[64] = "", name[256] = "", done[128];
    if (!has_dropbear_key()) make_dropbear_key();
    wait_for(events, "/sys/class/net/" CARD, clone ? PLUG_SECONDS_MAX : -1);
    close(events);
    write_file(NO_IPV6, 0644, "1"); /* nobody waits for its address of that: it gets one once SSH answers */
    link_up(CARD);
    take_address(50);
    imds_tries = 60;
    ask_who_i_am(id, sizeof id);
    take_name(id[0] != 0, name, sizeof name);
    snprintf(done, sizeof done, STATE "/instances/%s/keys-done", id);
    if (id[0] && !exists(done)) {
        *strrchr(done, '/') = 0;
        mkdir(done, 0755);
        /* A volume made from a snapshot of another instance must not carry that one's identity. */
        if (read_file(STATE "/instance-id", before, sizeof before) > 0) {
            before[strcspn(before, "\n")] = 0;
            if (strcmp(before, id) != 0) make_dropbear_key();
        }
        write_machine_id();
        take_keys();
        write_file(STATE "/instance-id", 0644, "%s\n", id);
        strcat(done, "/keys-done");
        write_file(done, 0644, "");
    }
    keep_connect_keys();
    start_ssh();
    setpriority(PRIO_PROCESS, 0, LEAST_PRIORITY); /* who logs in now does not wait for what is left */
    keep_dropbear_key();
    print_dropbear_key(name);
    write_file(NO_IPV6, 0644, "0");
    grow_root();
    setpriority(PRIO_PROCESS, 0, 0);
    close(alone);
    if (id[0]) {
        *strrchr(done, '/') = 0;
        run_user_data(done);
    }
    imds_tries = 1;
    say("freehold-micro ready");
    keep_address();
}

int main(void) {
    int events, busy[2];
    bool clone = boot(&events);
    mount_the_rest();
    link_up("lo");
    putenv("PATH=/sbin:/usr/sbin:/bin:/usr/bin");
    pipe(busy);
    if (fork() == 0) {
        close(busy[0]);
        fcntl(busy[1], F_SETFD, FD_CLOEXEC);
        become_instance(clone, events, busy[1]);
    }
    close(busy[1]);
    close(events);
    /* What init starts would delay the address and SSH; but without it nobody hears the power button. */
    struct pollfd ended = {busy[0], POLLIN, 0};
    poll(&ended, 1, ALONE_SECONDS_MAX * 1000);
    close(busy[0]);
    run_init();
    return 1;
}
