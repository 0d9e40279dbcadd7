/* The key by which clients know this machine's SSH server, as Dropbear keeps it: two strings of RFC 4251, its type, then
 * the secret half followed by the public one. Made here: to Dropbear's own program for it, which has to be linked and
 * translated first, a clone would lose a sixth of the time to its first login. */

#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "helper.h"

#define TYPE "\0\0\0\x0bssh-ed25519"
#define TYPE_SIZE (sizeof TYPE - 1)
#define HALVES "\0\0\0\x40"
#define HALVES_SIZE (sizeof HALVES - 1)
#define SIZE (TYPE_SIZE + HALVES_SIZE + 64)

/* sodium/crypto_sign_ed25519.h */
int crypto_sign_ed25519_seed_keypair(unsigned char *public, unsigned char *halves, const unsigned char *seed);

/* libsodium is built for glibc, which checks sizes that the compiler knows. */
void __explicit_bzero_chk(void *memory, size_t size, size_t known) {
    (void)known;
    explicit_bzero(memory, size);
}

/* A crash may have left a file without its content. */
static bool read_key(unsigned char key[SIZE + 2]) {
    return read_file(DROPBEAR_KEY, key, SIZE + 2) == SIZE && memcmp(key, TYPE, TYPE_SIZE) == 0;
}

bool has_dropbear_key(void) {
    unsigned char key[SIZE + 2];
    return read_key(key);
}

void make_dropbear_key(void) {
    unsigned char seed[32], public[32], key[SIZE];
    memcpy(key, TYPE, TYPE_SIZE);
    memcpy(key + TYPE_SIZE, HALVES, HALVES_SIZE);
    if (getrandom(seed, sizeof seed, 0) != sizeof seed) restart("no random bytes for a host key");
    crypto_sign_ed25519_seed_keypair(public, key + TYPE_SIZE + HALVES_SIZE, seed);
    unlink(DROPBEAR_KEY);
    int file = open(DROPBEAR_KEY, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (write(file, key, SIZE) != SIZE) say("freehold-micro: cannot write " DROPBEAR_KEY);
    close(file);
}

/* Once clients have seen a key it must not change. */
void keep_dropbear_key(void) {
    int file = open(DROPBEAR_KEY, O_RDONLY | O_CLOEXEC);
    fsync(file);
    close(file);
}

void print_dropbear_key(const char *name) {
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned char key[SIZE + 2], blob[TYPE_SIZE + 4 + 32];
    char shown[sizeof blob / 3 * 4 + 1] = {0};
    if (!read_key(key)) return;
    memcpy(blob, key, TYPE_SIZE);
    memcpy(blob + TYPE_SIZE, "\0\0\0\x20", 4);
    memcpy(blob + TYPE_SIZE + 4, key + SIZE - 32, 32);
    for (int from = 0, to = 0; from < (int)sizeof blob; from += 3) {
        uint32_t bits = blob[from] << 16 | blob[from + 1] << 8 | blob[from + 2];
        for (int shift = 18; shift >= 0; shift -= 6) shown[to++] = alphabet[bits >> shift & 63];
    }
    say("-----BEGIN SSH HOST KEY KEYS-----\nssh-ed25519 %s root@%s\n-----END SSH HOST KEY KEYS-----", shown, name);
}
