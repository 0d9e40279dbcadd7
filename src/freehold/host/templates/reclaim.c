/* Preloaded into the QEMU of a clone. To give a page back that its guest does not use, QEMU punches a hole into the file
 * of the memory, then drops its own copy of the page (ram_block_discard_range of its softmmu/physmem.c). The file is the
 * template's, which all clones share: sealed, so that no hole can be punched, and QEMU leaves it at that. Here that
 * step does nothing for such a file and succeeds, and QEMU goes on to the second.
 *
 * Compiled without headers: what the kernel and the C library call these is fixed (x86-64).
 */
enum { F_GET_SEALS = 1034, F_SEAL_WRITE = 8, FALLOC_FL_PUNCH_HOLE = 2, SYS_fallocate = 285 };

int fcntl(int file, int command, ...);
long syscall(long number, ...);

int fallocate64(int file, int mode, long offset, long length)
{
    if (mode & FALLOC_FL_PUNCH_HOLE) {
        int seals = fcntl(file, F_GET_SEALS);
        if (seals != -1 && seals & F_SEAL_WRITE)
            return 0;
    }
    return syscall(SYS_fallocate, (long)file, (long)mode, offset, length);
}
