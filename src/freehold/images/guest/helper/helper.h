/* What the first programs of our guests share. They run once, as root, in a guest that nobody uses yet; what goes
 * wrong is said on the console. Built by tcc with musl, static (freehold/images/program.py). */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* files.c */
void say(const char *format, ...);
void write_file(const char *path, int mode, const char *format, ...);
ptrdiff_t read_file(const char *path, void *buffer, size_t size); /* ends the text with a zero byte; -1: there is none */
bool exists(const char *path);

/* devices.c */
int open_events(void);
bool wait_for(int events, const char *path, int seconds_max);
void load_modules(const char *directory);

/* boot.c */
const char *root_device(void);
bool boot(int *events); /* the root volume is mounted as /; whether the machine is a clone of a template */
void run_init(void);

/* awake.c */
void wake_up(void);
void restart(const char *why);
void set_clock(void);

/* identity.c */
void take_identity(void);

/* network.c */
struct lease {
    uint32_t address, mask, router, server; /* in network order, as all addresses here */
    uint32_t seconds;
    uint16_t mtu;
    uint32_t resolvers[3];
    char domain[256];
    struct { uint32_t to, mask, gateway; } routes[16];
    int routes_count;
};
void link_up(const char *interface);
bool ask_for_lease(const char *interface, struct lease *lease, int tries);
void use_lease(const char *interface, const struct lease *lease, int metric); /* of its routes; 0: before all others */
int open_announcements(void);
bool wait_for_announcement(int announcements, int seconds_max);

/* connect.c */
void keep_connect_keys(void);
ptrdiff_t active_keys(const char *user, char *keys, size_t size); /* of this moment; ends with a zero byte; -1: none */

/* imds.c */
extern int imds_tries; /* of each question, about half a second apart */
bool imds_token(void);
/* Ends the text with a zero byte; -1: there is none, -2: no answer that could be read. */
ptrdiff_t imds(const char *path, char *body, size_t size);

/* instance.c */
pid_t start(const char *program, const char *const command[]);
bool consists_of(const char *word, const char *allowed);
bool instance_name(char *name, size_t size);
void public_keys(char *keys, size_t size);
void write_machine_id(void);

/* dropbear_key.c, of the micro image */
#define DROPBEAR_KEY "/etc/dropbear/dropbear_ed25519_host_key"
bool has_dropbear_key(void);
void make_dropbear_key(void);
void keep_dropbear_key(void);
void print_dropbear_key(const char *name);
