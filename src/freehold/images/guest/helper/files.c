#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "helper.h"

/* A line on the console. */
void say(const char *format, ...) {
    char line[1024];
    va_list values;
    va_start(values, format);
    int length = vsnprintf(line, sizeof line - 1, format, values);
    va_end(values);
    if (length > (int)sizeof line - 2) length = sizeof line - 2;
    line[length] = '\n';
    write(STDOUT_FILENO, line, length + 1);
}

bool exists(const char *path) {
    return access(path, F_OK) == 0;
}

void write_file(const char *path, int mode, const char *format, ...) {
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    if (file < 0) {
        say("freehold: cannot write %s", path);
        return;
    }
    fchmod(file, mode);
    va_list values;
    va_start(values, format);
    vdprintf(file, format, values);
    va_end(values);
    close(file);
}

ptrdiff_t read_file(const char *path, void *buffer, size_t size) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return -1;
    size_t length = 0;
    ssize_t count;
    while (length < size - 1 && (count = read(file, (char *)buffer + length, size - 1 - length)) > 0) length += count;
    close(file);
    ((char *)buffer)[length] = 0;
    return length;
}
