/* EC2 Instance Connect: keys that the metadata service has for a minute let in their users. OpenSSH asks a program for
 * them (connect-keys.c). Dropbear only reads authorized_keys: so the kernel is told to ask here before it opens one for
 * Dropbear, and the file then has the keys of that moment, marked, behind those that are its own. Nothing runs, or is
 * asked, until somebody logs in; if this program is gone, the kernel asks nobody. */

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/fanotify.h>
#include <unistd.h>

#include "helper.h"

#define MARK " ec2-instance-connect\n"
#define MARK_LENGTH ((ptrdiff_t)sizeof MARK - 1)
#define CLEAN_MILLISECONDS 60000
#define LINES_MAX 65536
#define FILES_MAX 64 /* more than the first program ever has */

struct home {
    const char *path, *user;
    int file; /* while it has keys that are to go again; else -1 */
};

static struct home homes[] = {{"/root", "root", -1}, {"/home/ec2-user", "ec2-user", -1}};
#define HOMES ((int)(sizeof homes / sizeof *homes))

ptrdiff_t active_keys(const char *user, char *keys, size_t size) {
    const char *allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789@.$_-";
    char path[128];
    if (!user[0] || strlen(user) > 32 || strspn(user, allowed) != strlen(user)) return -1;
    snprintf(path, sizeof path, "meta-data/managed-ssh-keys/active-keys/%s", user);
    return imds_token() ? imds(path, keys, size) : -1;
}

static bool is_marked(const char *line, ptrdiff_t length) {
    return length >= MARK_LENGTH && memcmp(line + length - MARK_LENGTH, MARK, MARK_LENGTH) == 0;
}

/* Have the keys of now in a user's file; whether there are any. */
static bool renew(int file, const char *user) {
    static char before[LINES_MAX], after[2 * LINES_MAX], keys[LINES_MAX / 2];
    ptrdiff_t length = pread(file, before, sizeof before - 1, 0), kept = 0;
    bool any = false;
    if (length < 0 || length == sizeof before - 1 || memchr(before, 0, length) != NULL) return false;
    before[length] = 0;
    for (char *line = before, *next; *line; line = next) {
        char *end = strchr(line, '\n');
        next = end == NULL ? line + strlen(line) : end + 1;
        if (is_marked(line, next - line)) continue;
        memcpy(after + kept, line, next - line);
        kept += next - line;
    }
    if (active_keys(user, keys, sizeof keys) > 0) {
        if (kept > 0 && after[kept - 1] != '\n') after[kept++] = '\n';
        for (char *key = strtok(keys, "\n"); key != NULL; key = strtok(NULL, "\n")) {
            if (key[0] == '#' || kept + strlen(key) + MARK_LENGTH >= sizeof after) continue;
            kept += sprintf(after + kept, "%s" MARK, key);
            any = true;
        }
    }
    if (kept != length || memcmp(before, after, kept) != 0) {
        pwrite(file, after, kept, 0);
        ftruncate(file, kept);
    }
    return any;
}

static bool links_to(const char *link, const char *expected) {
    char target[256];
    ssize_t length = readlink(link, target, sizeof target - 1);
    if (length < 0) return false;
    target[length] = 0;
    return strcmp(target, expected) == 0;
}

/* Whose authorized_keys Dropbear opens by this event; NULL: it is something else. */
static struct home *asked_for(const struct fanotify_event_metadata *event) {
    char link[64], path[128];
    snprintf(link, sizeof link, "/proc/%d/exe", event->pid);
    if (!links_to(link, "/usr/sbin/dropbear")) return NULL;
    snprintf(link, sizeof link, "/proc/self/fd/%d", event->fd);
    for (int each = 0; each < HOMES; each++) {
        snprintf(path, sizeof path, "%s/.ssh/authorized_keys", homes[each].path);
        if (links_to(link, path)) return &homes[each];
    }
    return NULL;
}

static void answer(int group, const struct fanotify_event_metadata *event) {
    if (event->fd < 0) return;
    struct home *home = asked_for(event);
    bool any = home != NULL && renew(event->fd, home->user);
    struct fanotify_response response = {event->fd, FAN_ALLOW};
    write(group, &response, sizeof response);
    if (any && home->file < 0)
        home->file = event->fd; /* opened so that it asks nobody */
    else
        close(event->fd);
}

static void clean(void) {
    for (int each = 0; each < HOMES; each++) {
        if (homes[each].file < 0 || renew(homes[each].file, homes[each].user)) continue;
        close(homes[each].file);
        homes[each].file = -1;
    }
}

static void follow(int group) {
    static char events[4096] __attribute__((aligned(8)));
    for (;;) {
        bool waits = false;
        for (int each = 0; each < HOMES; each++) waits |= homes[each].file >= 0;
        struct pollfd news = {group, POLLIN, 0};
        if (poll(&news, 1, waits ? CLEAN_MILLISECONDS : -1) == 0) {
            clean();
            continue;
        }
        ssize_t length = read(group, events, sizeof events);
        const struct fanotify_event_metadata *event = (void *)events;
        for (; FAN_EVENT_OK(event, length); event = FAN_EVENT_NEXT(event, length)) answer(group, event);
    }
}

/* In force when this returns; a program of its own goes on with it. */
void keep_connect_keys(void) {
    char directory[64];
    int group = fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC, O_RDWR | O_CLOEXEC);
    for (int each = 0; group >= 0 && each < HOMES; each++) {
        snprintf(directory, sizeof directory, "%s/.ssh", homes[each].path);
        if (!exists(directory)) continue; /* nobody has told whom to let in */
        if (fanotify_mark(group, FAN_MARK_ADD, FAN_OPEN_PERM | FAN_EVENT_ON_CHILD, AT_FDCWD, directory) != 0)
            say("freehold-micro: no EC2 Instance Connect for %s", homes[each].user);
    }
    if (group < 0) say("freehold-micro: no EC2 Instance Connect");
    if (group >= 0 && fork() == 0) {
        imds_tries = 1; /* somebody waits to be let in */
        /* Somebody may wait for the end of what else is open. */
        for (int other = STDERR_FILENO + 1; other < FILES_MAX; other++)
            if (other != group) close(other);
        follow(group);
    }
    close(group);
}
