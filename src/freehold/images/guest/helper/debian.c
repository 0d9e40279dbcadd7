/* The first program of the debian-12 image's initramfs. A boot goes on as Debian's own: systemd, cloud-init, SSH. In the
 * first life of a volume, a clone of a template lets its users in before that, as cloud-init would do it much later:
 *
 *     wake ─ mount ─ host key, address, IMDS: keys, name ─ sshd ─ systemd ─ cloud-init: user data
 *
 * But not where user data is more than a script: it may say who is let in, and cloud-init alone reads that. And not
 * where anybody has used the volume, or the one that it was made from: its own configuration says what runs, and when. */

#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "helper.h"

#define CARD "eth0"
#define USER "admin"
#define PLUG_SECONDS_MAX 30
#define LEASE_TRIES 30
#define IMDS_TRIES 10
#define SSH_MILLISECONDS_MAX 10000
#define ROUTE_METRIC 4096 /* behind those of cloud-init and systemd-networkd, which come later */

#define HOST_KEY "/etc/ssh/ssh_host_ed25519_key"
#define STATE "/var/lib/freehold"
#define FIRST STATE "/first-instance" /* whose users this program has let in; empty: nobody's, in the first boot */
#define PLACE "/run/freehold"

static char text[65536];

static void mount_the_rest(void) {
    mkdir("/dev/pts", 0755);
    mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "gid=5,mode=620,ptmxmode=000");
    mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV | MS_STRICTATIME, "mode=755,size=20%,nr_inodes=800k");
    mkdir(PLACE, 0755);
}

/* The machine's tables say it in our cloud; empty elsewhere. */
static void read_instance_id(char *id, size_t size) {
    id[0] = 0;
    read_file("/sys/devices/virtual/dmi/id/board_asset_tag", id, size);
    id[strcspn(id, "\n")] = 0;
    if (!consists_of(id, "abcdefghijklmnopqrstuvwxyz0123456789-")) id[0] = 0;
}

static pid_t make_host_key(void) {
    const char *const command[] = {"/usr/bin/ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", HOST_KEY, NULL};
    return start(command[0], command);
}

static void print_host_key(void) {
    char key[512] = "";
    read_file(HOST_KEY ".pub", key, sizeof key);
    say("-----BEGIN SSH HOST KEY KEYS-----\n%s-----END SSH HOST KEY KEYS-----", key);
}

static void write_keys(const struct passwd *user) {
    char path[256];
    public_keys(text, sizeof text);
    snprintf(path, sizeof path, "%s/.ssh", user->pw_dir);
    mkdir(path, 0700);
    chown(path, user->pw_uid, user->pw_gid);
    strcat(path, "/authorized_keys");
    write_file(path, 0600, "%s", text);
    chown(path, user->pw_uid, user->pw_gid);
}

static void take_name(void) {
    char name[256];
    if (!instance_name(name, sizeof name)) return;
    name[strcspn(name, ".")] = 0;
    write_file("/etc/hostname", 0644, "%s\n", name);
    sethostname(name, strlen(name));
}

static bool take_address(int events) {
    struct lease lease;
    wait_for(events, "/sys/class/net/" CARD, PLUG_SECONDS_MAX);
    link_up("lo");
    link_up(CARD);
    if (!ask_for_lease(CARD, &lease, LEASE_TRIES)) return false;
    use_lease(CARD, &lease, ROUTE_METRIC);
    return true;
}

/* What cloud-init would do before SSH, to the letter; false: it is to do that, because only it can. */
static bool set_up(void) {
    const struct passwd *user = getpwnam(USER);
    if (user == NULL || !imds_token()) return false;
    ptrdiff_t length = imds("user-data", text, sizeof text);
    if (length < -1 || (length > 0 && strncmp(text, "#!", 2) != 0)) return false;
    write_keys(user);
    write_file("/etc/sudoers.d/90-cloud-init-users", 0440,
               "\n# User rules for " USER "\n" USER " ALL=(ALL) NOPASSWD:ALL\n");
    take_name();
    return true;
}

/* Its process, once it listens; 0: it does not. */
static pid_t start_ssh(void) {
    const char *const command[] = {"/usr/sbin/sshd", "-D", NULL};
    struct sockaddr_un place = {AF_UNIX, PLACE "/sshd-ready"};
    mkdir("/run/sshd", 0755);
    int ready = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bind(ready, (struct sockaddr *)&place, sizeof place);
    setenv("NOTIFY_SOCKET", place.sun_path, 1);
    pid_t server = start(command[0], command);
    unsetenv("NOTIFY_SOCKET");
    int ended = syscall(SYS_pidfd_open, server, 0);
    struct pollfd news[] = {{ready, POLLIN, 0}, {ended, POLLIN, 0}};
    poll(news, 2, SSH_MILLISECONDS_MAX);
    close(ready);
    close(ended);
    unlink(place.sun_path);
    if (news[0].revents && !news[1].revents) return server;
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    return 0;
}

static void configure(const char *directory, const char *name, const char *lines) {
    char path[256];
    for (const char *end = directory; (end = strchr(end + 1, '/')) != NULL;) {
        snprintf(path, sizeof path, "%.*s", (int)(end - directory), directory);
        mkdir(path, 0755);
    }
    snprintf(path, sizeof path, "%s%s", directory, name);
    write_file(path, 0644, "%s", lines);
}

/* What systemd does otherwise in this boot, since users may be logged in already. */
static void hand_over(pid_t server) {
    write_file(PLACE "/sshd.pid", 0644, "%d\n", server);
    configure("/run/systemd/system/ssh.service.d/", "freehold.conf",
              "[Service]\nExecStart=\nExecStart=/usr/lib/freehold/running-sshd -D $SSHD_OPTS\n");
    configure("/run/systemd/network/10-netplan-" CARD ".network.d/", "freehold.conf",
              "[Network]\nKeepConfiguration=static\n");
    configure("/run/tmpfiles.d/", "systemd-nologin.conf", "");
}

/* Whether they are. */
static bool let_users_in(int events) {
    pid_t key = make_host_key();
    imds_tries = IMDS_TRIES;
    bool ready = take_address(events) && set_up();
    waitpid(key, NULL, 0);
    pid_t server = ready ? start_ssh() : 0;
    if (server > 0) {
        hand_over(server);
        print_host_key();
    } else {
        unlink(HOST_KEY);
        unlink(HOST_KEY ".pub");
    }
    return server > 0;
}

int main(void) {
    char id[64], first[64] = "";
    int events;
    bool clone = boot(&events);
    mount_the_rest();
    read_instance_id(id, sizeof id);
    if (!exists(FIRST)) {
        bool first_to_come = clone && id[0] && let_users_in(events);
        mkdir(STATE, 0755);
        write_file(FIRST, 0644, "%s", first_to_come ? id : "");
    }
    close(events);
    read_file(FIRST, first, sizeof first);
    /* Read by the way of a link in /etc/cloud/cloud.cfg.d: the host key that users know stays. */
    if (first[0] && strcmp(first, id) == 0) write_file(PLACE "/cloud.cfg", 0644, "ssh_deletekeys: false\n");
    run_init();
    return 1;
}
