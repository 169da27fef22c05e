/* Memory that cameras share with programs (dma-buf), where the kernel has no device that hands it out.
 *
 * libcamera's virtual cameras ask /dev/udmabuf for it, picamera2 /dev/dma_heap/...; both only map what they get. With
 * LD_PRELOAD this library gives them ordinary memory files instead. The kernel is always asked first: only where it says
 * that there is no such device (ENOENT), or that a file is none (ENOTTY), the answer comes from here.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/dma-buf.h>
#include <linux/dma-heap.h>
#include <linux/udmabuf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static int opened(int fd, const char *path)
{
	if (fd >= 0 || errno != ENOENT)
		return fd;
	if (strcmp(path, "/dev/udmabuf") && strncmp(path, "/dev/dma_heap/", strlen("/dev/dma_heap/")))
		return fd;
	return memfd_create("no dma-buf device", MFD_CLOEXEC);
}

/* The third argument is there only when a file may be created; to read it when it is not does no harm on x86-64. */
#define OPEN(name) \
	int name(const char *path, int flags, ...) \
	{ \
		int (*next)(const char *, int, ...) = dlsym(RTLD_NEXT, #name); \
		va_list rest; \
		va_start(rest, flags); \
		mode_t mode = va_arg(rest, mode_t); \
		va_end(rest); \
		return opened(next(path, flags, mode), path); \
	}
#define OPENAT(name) \
	int name(int directory, const char *path, int flags, ...) \
	{ \
		int (*next)(int, const char *, int, ...) = dlsym(RTLD_NEXT, #name); \
		va_list rest; \
		va_start(rest, flags); \
		mode_t mode = va_arg(rest, mode_t); \
		va_end(rest); \
		return opened(next(directory, path, flags, mode), path); \
	}
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

static int allocate(struct dma_heap_allocation_data *wanted)
{
	int fd = memfd_create("dma-buf", MFD_CLOEXEC);
	if (fd < 0)
		return -1;
	if (ftruncate(fd, wanted->len) < 0) {
		close(fd);
		errno = ENOMEM;
		return -1;
	}
	wanted->fd = fd;
	return 0;
}

int ioctl(int fd, unsigned long request, ...)
{
	int (*next)(int, unsigned long, ...) = dlsym(RTLD_NEXT, "ioctl");
	va_list rest;
	va_start(rest, request);
	void *argument = va_arg(rest, void *);
	va_end(rest);

	int result = next(fd, request, argument);
	if (result != -1 || errno != ENOTTY)
		return result;

	switch ((unsigned int)request) { /* some callers sign-extend it */
	case (unsigned int)UDMABUF_CREATE: /* the memory file is given already: it only needs another descriptor */
		return fcntl(((struct udmabuf_create *)argument)->memfd, F_DUPFD_CLOEXEC, 0);
	case (unsigned int)DMA_HEAP_IOCTL_ALLOC:
		return allocate(argument);
	case (unsigned int)DMA_BUF_IOCTL_SYNC:
	case (unsigned int)DMA_BUF_SET_NAME_A:
	case (unsigned int)DMA_BUF_SET_NAME_B:
		return 0;
	}
	errno = ENOTTY;
	return -1;
}
