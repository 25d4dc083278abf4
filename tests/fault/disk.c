/*
 * A disk that is slow while a process runs. Loaded with LD_PRELOAD, it lets whatever forces a file to
 * the disk wait for the milliseconds that stand, as a 64-bit number, in the file that
 * NOVA_FAULT_DISK names. Writing without forcing is as fast as ever, as it is with a real disk: it
 * ends in the memory of the system.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *delay;

__attribute__((constructor)) static void map_delay(void)
{
    const char *path = getenv("NOVA_FAULT_DISK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    void *found = mmap(NULL, sizeof *delay, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (found != MAP_FAILED)
        delay = found;
}

static void wait_for_the_disk(void)
{
    int64_t milliseconds = delay ? *delay : 0;
    struct timespec pause = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    if (milliseconds > 0)
        nanosleep(&pause, NULL);
}

int fdatasync(int file)
{
    wait_for_the_disk();
    return syscall(SYS_fdatasync, file);
}

int fsync(int file)
{
    wait_for_the_disk();
    return syscall(SYS_fsync, file);
}
