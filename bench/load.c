/* A load generator for proxies: plain HTTP, CONNECT, TLS inside it; one blocking thread for each client.
 *
 * Rules of this file:
 * - Only loopback. Bounded in time and in number: it stops by itself, and sooner on SIGINT.
 * - Every answer is checked: a status other than 200, or a short body, is an error and not an operation.
 * - It must cost less than what it measures: no allocation and no parsing beyond Content-Length in the loop.
 *
 * Build: cc -O2 -pthread -o load load.c -lssl -lcrypto
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BUFFER_BYTES (256 * 1024)
#define MAX_SAMPLES 200000

static struct {
    int port;             /* of the proxy, on 127.0.0.1 */
    const char *connect;  /* authority for CONNECT, or NULL */
    const char *target;   /* request target: a path, or an absolute URI */
    const char *host;     /* Host field; without its port, the name in SNI and certificate */
    const char *ca;       /* CA file: TLS towards the client side, or NULL */
    int clients;
    double seconds;
    long rate;            /* operations a second, all clients together; 0: as fast as it goes */
    int is_new;           /* a connection for each operation */
    long first_host;      /* with host_count: the number of the first */
    long host_count;      /* that many names below `host`, each asked once over a connection of its own; 0: only `host` */
} options = {.target = "/", .host = "bench.test", .clients = 1, .seconds = 5};

static SSL_CTX *tls_context;
static atomic_int is_over;
static atomic_long hosts_asked;
static atomic_int ended;   /* clients that have */
static double started;

struct client {
    pthread_t thread;
    int number;
    long operations, errors;
    uint64_t bytes;
    double *samples;
    long sample_count;
    char *buffer;
};

struct connection {
    int fd;
    SSL *tls;
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static ssize_t receive(struct connection *c, char *buffer, size_t size) {
    return c->tls ? SSL_read(c->tls, buffer, (int)size) : read(c->fd, buffer, size);
}

static int transmit(struct connection *c, const char *data, size_t size) {
    while (size) {
        ssize_t sent = c->tls ? SSL_write(c->tls, data, (int)size) : write(c->fd, data, size);
        if (sent <= 0) return -1;
        data += sent;
        size -= (size_t)sent;
    }
    return 0;
}

static void hang_up(struct connection *c) {
    if (c->tls) {
        SSL_shutdown(c->tls);
        SSL_free(c->tls);
        c->tls = NULL;
    }
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
}

/* Read a response; returns the bytes of its body, or -1. The head must fit into the buffer. */
static int64_t read_response(struct connection *c, char *buffer, int has_body) {
    size_t have = 0;
    char *end = NULL;
    while (!end) {
        ssize_t got = receive(c, buffer + have, BUFFER_BYTES - 1 - have);
        if (got <= 0) return -1;
        have += (size_t)got;
        buffer[have] = 0;
        end = strstr(buffer, "\r\n\r\n");
        if (!end && have >= BUFFER_BYTES - 1) return -1;
    }
    if (strncmp(buffer, "HTTP/1.1 200", 12) && strncmp(buffer, "HTTP/1.0 200", 12)) return -1;
    if (!has_body) return 0;
    size_t body = have - (size_t)(end + 4 - buffer);
    *end = 0;
    char *field = strcasestr(buffer, "\r\ncontent-length:");
    if (!field) return -1;
    int64_t length = strtoll(field + 17, NULL, 10), left = length - (int64_t)body;
    while (left > 0) {
        ssize_t got = receive(c, buffer, BUFFER_BYTES);
        if (got <= 0) return -1;
        left -= got;
    }
    return left ? -1 : length;
}

/* Connect; `below` stands before the host where that is a name: "" or "h000001.". */
static int open_connection(struct connection *c, char *buffer, const char *below) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port)};
    int one = 1;
    struct timeval patience = {.tv_sec = 20};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->tls = NULL;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0) return -1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to)) return -1;
    if (options.connect) {
        const char *label = *options.connect >= '0' && *options.connect <= '9' ? "" : below;
        int size = snprintf(buffer, BUFFER_BYTES, "CONNECT %s%s HTTP/1.1\r\nHost: %s%s\r\n\r\n", label, options.connect, label,
                            options.connect);
        if (transmit(c, buffer, (size_t)size) || read_response(c, buffer, 0) < 0) return -1;
    }
    if (tls_context) {
        c->tls = SSL_new(tls_context);
        SSL_set_fd(c->tls, c->fd);
        char name[256];
        snprintf(name, sizeof name, "%s%.*s", below, (int)strcspn(options.host, ":"), options.host);
        SSL_set_tlsext_host_name(c->tls, name);
        SSL_set1_host(c->tls, name);
        if (SSL_connect(c->tls) != 1) return -1;
    }
    return 0;
}

static void wait_for_turn(struct client *me) {
    if (!options.rate) return;
    double due = started + ((double)me->operations * options.clients + me->number) / (double)options.rate;
    double left = due - now();
    if (left > 0) {
        struct timespec t = {.tv_sec = (time_t)left, .tv_nsec = (long)((left - (double)(time_t)left) * 1e9)};
        nanosleep(&t, NULL);
    }
}

static void *run(void *argument) {
    struct client *me = argument;
    struct connection c = {.fd = -1};
    char request[2048], below[32] = "";
    int size = 0;
    while (!atomic_load(&is_over) && me->errors < 100) {
        if (options.host_count) {
            long asked = atomic_fetch_add(&hosts_asked, 1);
            if (asked >= options.host_count) break;
            snprintf(below, sizeof below, "h%06ld.", options.first_host + asked);
        }
        if (!size || options.host_count)
            size = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: %s%s\r\nUser-Agent: load\r\nAccept: */*\r\n\r\n",
                            options.target, below, options.host);
        wait_for_turn(me);
        double began = now();
        int64_t got = -1;
        if (c.fd >= 0 || !open_connection(&c, me->buffer, below)) {
            if (!transmit(&c, request, (size_t)size)) got = read_response(&c, me->buffer, 1);
        }
        if (got < 0) {
            me->errors++;
            hang_up(&c);
            continue;
        }
        me->operations++;
        me->bytes += (uint64_t)got;
        if (me->sample_count < MAX_SAMPLES) me->samples[me->sample_count++] = now() - began;
        if (options.is_new) hang_up(&c);
    }
    hang_up(&c);
    atomic_fetch_add(&ended, 1);
    return NULL;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void stop(int number) {
    (void)number;
    atomic_store(&is_over, 1);
}

int main(int argc, char **argv) {
    static const struct option known[] = {{"port", 1, 0, 'p'}, {"connect", 1, 0, 'c'}, {"target", 1, 0, 't'},
                                          {"host", 1, 0, 'h'}, {"ca", 1, 0, 'a'},      {"clients", 1, 0, 'n'},
                                          {"seconds", 1, 0, 's'}, {"rate", 1, 0, 'r'}, {"new", 0, 0, 'w'},
                                          {"first-host", 1, 0, 'f'}, {"host-count", 1, 0, 'd'}, {0}};
    int o;
    while ((o = getopt_long(argc, argv, "", known, NULL)) != -1) switch (o) {
        case 'p': options.port = atoi(optarg); break;
        case 'c': options.connect = optarg; break;
        case 't': options.target = optarg; break;
        case 'h': options.host = optarg; break;
        case 'a': options.ca = optarg; break;
        case 'n': options.clients = atoi(optarg); break;
        case 's': options.seconds = atof(optarg); break;
        case 'r': options.rate = atol(optarg); break;
        case 'w': options.is_new = 1; break;
        case 'f': options.first_host = atol(optarg); break;
        case 'd': options.host_count = atol(optarg), options.is_new = 1; break;
        default: return 2;
    }
    if (options.port < 1 || options.clients < 1 || options.clients > 10000 || options.seconds > 120) return 2;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, stop);
    if (options.ca) {
        tls_context = SSL_CTX_new(TLS_client_method());
        if (SSL_CTX_load_verify_locations(tls_context, options.ca, NULL) != 1) return 2;
        SSL_CTX_set_verify(tls_context, SSL_VERIFY_PEER, NULL);
        SSL_CTX_set_session_cache_mode(tls_context, SSL_SESS_CACHE_OFF);
    }
    struct client *clients = calloc((size_t)options.clients, sizeof *clients);
    started = now();
    for (int i = 0; i < options.clients; i++) {
        clients[i].number = i;
        clients[i].samples = malloc(MAX_SAMPLES * sizeof(double));
        clients[i].buffer = malloc(BUFFER_BYTES);
        if (pthread_create(&clients[i].thread, NULL, run, &clients[i])) return 1;
    }
    struct timespec step = {.tv_nsec = 5 * 1000 * 1000}; /* how late its own end may be noticed; it costs no core anything */
    while (!atomic_load(&is_over) && now() - started < options.seconds && atomic_load(&ended) < options.clients) nanosleep(&step, NULL);
    atomic_store(&is_over, 1);
    long operations = 0, errors = 0, samples = 0;
    uint64_t bytes = 0;
    for (int i = 0; i < options.clients; i++) {
        pthread_join(clients[i].thread, NULL);
        operations += clients[i].operations;
        errors += clients[i].errors;
        bytes += clients[i].bytes;
        samples += clients[i].sample_count;
    }
    double elapsed = now() - started;
    double *all = malloc((size_t)(samples ? samples : 1) * sizeof(double));
    long at = 0;
    for (int i = 0; i < options.clients; i++) {
        memcpy(all + at, clients[i].samples, (size_t)clients[i].sample_count * sizeof(double));
        at += clients[i].sample_count;
    }
    qsort(all, (size_t)samples, sizeof(double), compare);
    printf("{\"operations\": %ld, \"errors\": %ld, \"bytes\": %llu, \"seconds\": %.4f, \"p50_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f}\n",
           operations, errors, (unsigned long long)bytes, elapsed, samples ? all[samples / 2] * 1e6 : 0,
           samples ? all[samples * 99 / 100] * 1e6 : 0, samples ? all[samples - 1] * 1e6 : 0);
    return errors > operations / 100 ? 1 : 0;
}
