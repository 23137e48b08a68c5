/* A hundred pulses a second, until it is told to stop. Each is a record of bytes with its length before it (format = "raw",
 * framing = "u32le"): the number of the pulse, 8 bytes, and 500 samples of 2 bytes. */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { SAMPLES = 500 };

static volatile sig_atomic_t is_stopping;

static void stop(int number) {
    (void)number;
    is_stopping = 1;
}

static void digitize(int16_t *samples) {
    for (int n = 0; n < SAMPLES; n++) {
        int height = n < 100 ? 0 : 10000 * 20 / (n - 80);
        samples[n] = (int16_t)(height + rand() % 50);
    }
}

int main(void) {
    struct sigaction action = {.sa_handler = stop};
    sigaction(SIGTERM, &action, NULL);
    fprintf(stderr, "standard error is the log\n");

    int16_t samples[SAMPLES];
    for (uint64_t number = 0; !is_stopping; number++) {
        digitize(samples);
        uint32_t length = sizeof number + sizeof samples;
        fwrite(&length, sizeof length, 1, stdout);
        fwrite(&number, sizeof number, 1, stdout);
        fwrite(samples, sizeof samples, 1, stdout);
        if (fflush(stdout) != 0) {
            perror("nobody reads");
            return 1;
        }
        struct timespec pause = {.tv_nsec = 10000000};
        nanosleep(&pause, NULL);
    }
    return 0;
}
