/*  What Linux offers to libzmq 4.3.5: the file that its own CMake would write after asking the compiler.

    Kernel 2.6.28 and glibc 2.12 or musl have all of this, so nothing is asked here.
    zeromq-src defines the rest on the command line: ZMQ_HAVE_LINUX, ZMQ_HAVE_IPC, ZMQ_HAVE_UIO, ZMQ_HAVE_WS,
    ZMQ_HAVE_STRUCT_SOCKADDR_UN, HAVE_STRNLEN, ZMQ_HAVE_STRLCPY (if the C library has it), ZMQ_HAVE_CURVE,
    ZMQ_USE_LIBSODIUM, ZMQ_USE_BUILTIN_SHA1, ZMQ_USE_CV_IMPL_STL11, ZMQ_IOTHREAD_POLLER_USE_EPOLL,
    ZMQ_POLL_BASED_ON_POLL.

    Left out on purpose:
      HAVE_FORK            libzmq would ask getpid() at every wake-up, to survive a fork without exec: we never do that
      NDEBUG               keeps the check that a poller is used from its own thread; zmq_assert does not depend on it
      ZMQ_HAVE_TIPC        a transport that nobody here speaks
      ZMQ_HAVE_O_CLOEXEC, ZMQ_HAVE_GETRANDOM, ZMQ_HAVE_TCP_USER_TIMEOUT
                           asked for by CMake, or once meant, but no line of 4.3.5 tests them
      ZMQ_HAVE_TCP_KEEPALIVE, ZMQ_HAVE_LOCAL_PEERCRED, ZMQ_HAVE_PTHREAD_SETNAME_1 and _3, ZMQ_HAVE_PTHREAD_SET_NAME
                           of other systems
*/

#ifndef ENRGDAQ_LIBZMQ_PLATFORM_HPP
#define ENRGDAQ_LIBZMQ_PLATFORM_HPP

/*  No descriptor reaches a child process. The first and the second must come together: with both, libzmq no longer
    sets the flag afterwards, which would leave a gap for a fork.  */
#define ZMQ_HAVE_SOCK_CLOEXEC 1
#define HAVE_ACCEPT4 1
#define ZMQ_HAVE_EVENTFD_CLOEXEC 1
#define ZMQ_IOTHREAD_POLLER_USE_EPOLL_CLOEXEC 1

/*  Threads wake each other by an eventfd instead of a pair of sockets.  */
#define ZMQ_HAVE_EVENTFD 1

/*  The options ZMQ_TCP_KEEPALIVE* take effect; without these they are accepted and forgotten.  */
#define ZMQ_HAVE_SO_KEEPALIVE 1
#define ZMQ_HAVE_TCP_KEEPCNT 1
#define ZMQ_HAVE_TCP_KEEPIDLE 1
#define ZMQ_HAVE_TCP_KEEPINTVL 1

/*  The same for ZMQ_BINDTODEVICE; the other two serve options that only the draft API can set.  */
#define ZMQ_HAVE_SO_BINDTODEVICE 1
#define ZMQ_HAVE_SO_PRIORITY 1
#define ZMQ_HAVE_BUSY_POLL 1

/*  Endpoints may name a network interface (tcp://eth0:5555), also as the scope of an IPv6 address.  */
#define ZMQ_HAVE_IFADDRS 1
#define HAVE_IF_NAMETOINDEX 1

/*  ipc: filters by the peer's user, group and process; a wildcard endpoint lies in a directory of its own.  */
#define ZMQ_HAVE_SO_PEERCRED 1
#define HAVE_MKDTEMP 1

/*  Threads carry a name (ZMQbg/IO/0) and obey ZMQ_THREAD_AFFINITY_CPU_ADD.  */
#define ZMQ_HAVE_PTHREAD_SETNAME_2 1
#define ZMQ_HAVE_PTHREAD_SET_AFFINITY 1

/*  The queues between threads begin on a cache line.  */
#define HAVE_POSIX_MEMALIGN 1
#define ZMQ_CACHELINE_SIZE 64

#define HAVE_CLOCK_GETTIME 1
#define ZMQ_HAVE_NOEXCEPT 1
#define ZMQ_HAVE_PPOLL 1

#endif
