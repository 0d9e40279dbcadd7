/* What a clone must do before anything else: its memory is a copy of the template's, also all that should be random. */

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/reboot.h>
#include <time.h>
#include <unistd.h>

#include "helper.h"

/* linux/random.h, linux/rtc.h */
#define RNDADDENTROPY 0x40085203
#define RNDRESEEDCRNG 0x5207
#define RTC_RD_TIME 0x80247009

struct rtc_time {
    int second, minute, hour, day, month, year, weekday, yearday, summer;
};

/* The guest boots anew, which it can without any template. */
void restart(const char *why) {
    say("freehold: %s: booting again", why);
    reboot(RB_AUTOBOOT);
    for (;;) pause();
}

/* The kernel's generator gives the same bytes in every clone until it takes in others. Writing them to /dev/urandom is
 * not enough: that changes what it gives only some time later. The driver of the virtual generator has fetched 64 bytes
 * ahead, in the template: more than these are read. */
static void reseed(void) {
    struct {
        int bits, size;
        unsigned char bytes[512];
    } fresh = {256, sizeof fresh.bytes};
    int source = open("/dev/hwrng", O_RDONLY | O_CLOEXEC), pool = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
    for (int have = 0; have < fresh.size;) {
        ssize_t count = read(source, fresh.bytes + have, fresh.size - have);
        if (count <= 0) restart("no random bytes from the host");
        have += count;
    }
    if (ioctl(pool, RNDADDENTROPY, &fresh) != 0 || ioctl(pool, RNDRESEEDCRNG) != 0) restart("random pool not renewed");
    close(source);
    close(pool);
}

/* The clock is that of the moment of the save; the emulated hardware's is the host's. It shows whole seconds. */
void set_clock(void) {
    struct rtc_time shown;
    int rtc = open("/dev/rtc0", O_RDONLY | O_CLOEXEC);
    if (rtc < 0) return;
    if (ioctl(rtc, RTC_RD_TIME, &shown) == 0) {
        struct tm time = {shown.second, shown.minute, shown.hour, shown.day, shown.month, shown.year};
        struct timespec now = {timegm(&time), 500000000};
        clock_settime(CLOCK_REALTIME, &now);
    }
    close(rtc);
}

void wake_up(void) {
    reseed();
    set_clock();
    take_identity();
}
