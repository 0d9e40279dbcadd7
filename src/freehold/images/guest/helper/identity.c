/* Which instance a clone is, in the machine's tables (SMBIOS). What the kernel has read of them is of the template; the
 * clone's own are in QEMU, where firmware would fetch them (docs/specs/fw_cfg of QEMU), and are put in the place of the
 * template's in sysfs. After a reboot the kernel has read them itself. */

#include <stdio.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mount.h>

#include "helper.h"

#define SELECTOR 0x510
#define DATA 0x511
#define DIRECTORY 0x19
#define PLACE "/modules" /* in the initramfs, empty once the modules are loaded */

static void fetch(unsigned key, void *data, size_t size) {
    outw(key, SELECTOR);
    for (size_t each = 0; each < size; each++) ((uint8_t *)data)[each] = inb(DATA);
}

static uint32_t number(const uint8_t *bytes) {
    return (uint32_t)bytes[0] << 24 | bytes[1] << 16 | bytes[2] << 8 | bytes[3];
}

/* QEMU's tables; how many bytes they have. */
static size_t fetch_tables(uint8_t *tables, size_t size) {
    static uint8_t directory[4 + 64 * 64];
    fetch(DIRECTORY, directory, sizeof directory);
    for (uint32_t each = 0; each < number(directory) && each < 64; each++) {
        const uint8_t *entry = directory + 4 + 64 * each;
        if (strcmp((const char *)entry + 8, "etc/smbios/smbios-tables") != 0 || number(entry) > size) continue;
        fetch(entry[4] << 8 | entry[5], tables, number(entry));
        return number(entry);
    }
    return 0;
}

/* The text of a structure to which the byte at `place` points (SMBIOS Reference Specification, section 6.1.3). */
static const char *text_of(const uint8_t *structure, int place) {
    const char *text = (const char *)structure + structure[1];
    for (int each = 1; each < structure[place] && *text; each++) text += strlen(text) + 1;
    return structure[place] ? text : "";
}

static void show(const char *name, int mode, const char *text) {
    char own[64], seen[64];
    snprintf(own, sizeof own, PLACE "/%s", name);
    snprintf(seen, sizeof seen, "/sys/devices/virtual/dmi/id/%s", name);
    write_file(own, mode, "%s\n", text);
    if (exists(seen)) mount(own, seen, NULL, MS_BIND, NULL);
}

void take_identity(void) {
    static uint8_t tables[8192];
    char uuid[37];
    if (iopl(3) != 0) return;
    size_t size = fetch_tables(tables, sizeof tables - 2);
    iopl(0);
    mount("tmpfs", PLACE, "tmpfs", 0, "size=64k,mode=700");
    for (const uint8_t *each = tables; each + 4 < tables + size && each[1] >= 4;) {
        const uint8_t *id = each + 8;
        if (each[0] == 1) {
            sprintf(uuid, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", id[3], id[2], id[1],
                    id[0], id[5], id[4], id[7], id[6], id[8], id[9], id[10], id[11], id[12], id[13], id[14], id[15]);
            show("product_uuid", 0400, uuid);
            show("product_serial", 0400, text_of(each, 7));
        }
        if (each[0] == 2) show("board_asset_tag", 0444, text_of(each, 8));
        for (each += each[1]; each[0] || each[1]; each++) continue;
        each += 2;
    }
}
