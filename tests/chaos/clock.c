/* A wall clock that can be set while a process runs, for LD_PRELOAD.
 *
 * TEGULA_CHAOS_CLOCK names a file of 8 bytes: how many ns the clock is ahead. As with a clock that is
 * really set, what asks for the time of day gets the other one at once, who waits *until* a time of
 * day waits by it too, and monotonic clocks go on. (libfaketime is not enough: librdkafka waits with
 * C11's cnd_timedwait, which it does not know.)
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS 1000000000LL
#define LOOK_NS 50000000LL /* how often who waits looks whether the clock was set */
#define LEAST_S 1000000000 /* an earlier deadline is one of a monotonic clock */

static int (*real_gettime)(clockid_t, struct timespec *);
static int (*real_wait)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
static const volatile int64_t *ahead_ns;

__attribute__((constructor)) static void load(void) {
    static const int64_t none = 0;
    const char *path = getenv("TEGULA_CHAOS_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *found = file < 0 ? MAP_FAILED : mmap(NULL, 8, PROT_READ, MAP_SHARED, file, 0);
    if (file >= 0) close(file);
    real_wait = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    if (!real_wait) real_wait = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    real_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    ahead_ns = found == MAP_FAILED ? &none : found;
}

static int64_t as_ns(const struct timespec *at) { return at->tv_sec * SECOND_NS + at->tv_nsec; }

static struct timespec from_ns(int64_t ns) {
    return (struct timespec){.tv_sec = ns / SECOND_NS, .tv_nsec = ns % SECOND_NS};
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    if (!real_gettime) load(); /* asked by another library's constructor */
    int failed = real_gettime(clock, at);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        *at = from_ns(as_ns(at) + *ahead_ns);
    return failed;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    *at = (struct timeval){.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}

int timespec_get(struct timespec *at, int base) {
    clock_gettime(CLOCK_REALTIME, at);
    return base;
}

/* Waits for a little at most, and then wakes up for no reason, which every caller must expect. */
int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex,
                           const struct timespec *deadline) {
    struct timespec now, until;
    if (!real_wait) load();
    if (deadline->tv_sec < LEAST_S) return real_wait(condition, mutex, deadline);
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t left_ns = as_ns(deadline) - as_ns(&now);
    real_gettime(CLOCK_REALTIME, &until);
    until = from_ns(as_ns(&until) + (left_ns < LOOK_NS ? left_ns : LOOK_NS));
    int failed = real_wait(condition, mutex, &until);
    return failed == ETIMEDOUT && left_ns > LOOK_NS ? 0 : failed;
}

int cnd_timedwait(cnd_t *restrict condition, mtx_t *restrict mutex,
                  const struct timespec *restrict deadline) {
    int failed =
        pthread_cond_timedwait((pthread_cond_t *)condition, (pthread_mutex_t *)mutex, deadline);
    return failed == 0 ? thrd_success : failed == ETIMEDOUT ? thrd_timedout : thrd_error;
}
