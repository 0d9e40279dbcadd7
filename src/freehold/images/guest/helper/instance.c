/* What makes a machine the instance that the metadata service says it is, alike in all images. */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "helper.h"

/* A program beside this one, which nobody hears. */
pid_t start(const char *program, const char *const command[]) {
    pid_t child = fork();
    if (child == 0) {
        setsid();
        int nothing = open("/dev/null", O_RDWR);
        for (int number = 0; number < 3; number++) dup2(nothing, number);
        execv(program, (char *const *)command);
        _exit(127);
    }
    return child;
}

bool consists_of(const char *word, const char *allowed) {
    return word[0] && strspn(word, allowed) == strlen(word);
}

bool instance_name(char *name, size_t size) {
    const char *allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-";
    return imds("meta-data/local-hostname", name, size) > 0 && consists_of(name, allowed);
}

/* Every public key of the instance, a line each. */
void public_keys(char *keys, size_t size) {
    char names[8192], path[64];
    size_t length = 0;
    keys[0] = 0;
    if (imds("meta-data/public-keys/", names, sizeof names) < 0) names[0] = 0;
    for (char *name = strtok(names, "\n"); name != NULL; name = strtok(NULL, "\n")) {
        snprintf(path, sizeof path, "meta-data/public-keys/%d/openssh-key", atoi(name));
        ptrdiff_t count = imds(path, keys + length, size - 2 - length);
        if (count <= 0) continue;
        length += count;
        if (keys[length - 1] != '\n') keys[length++] = '\n';
        keys[length] = 0;
    }
}

void write_machine_id(void) {
    unsigned char bytes[16];
    char id[33];
    int source = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    read(source, bytes, sizeof bytes);
    close(source);
    for (int each = 0; each < 16; each++) sprintf(id + 2 * each, "%02x", bytes[each]);
    write_file("/etc/machine-id", 0444, "%s\n", id);
}
