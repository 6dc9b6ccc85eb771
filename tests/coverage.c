/* SPDX-License-Identifier: MIT */
/*
 * Keep the counts of the program whose lines and branches are counted (tests/coverage).
 * They are written to files when a process ends, so what would confine it is only said to
 * be done, and what would end it in between waits or is told to write first.
 *
 * Source: ld(1), --wrap; gcov's library in gcc (__gcov_dump(); counts are written by a
 * destructor that comes after all others); landlock(7), seccomp(2), prctl(2).
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

void __gcov_dump(void);

long __real_syscall(long number, ...);
int __real_prctl(int option, ...);
void __real__exit(int status) __attribute__((noreturn));

long __wrap_syscall(long number, ...);
int __wrap_prctl(int option, ...);
void __wrap__exit(int status) __attribute__((noreturn));

enum {
	SYSCALL_ARGUMENTS = 6,
	PRCTL_ARGUMENTS = 4,
};

/* More than were given may be taken: they are registers, and nobody looks at them. */
static void
take_arguments(va_list arguments, int count, unsigned long *ret_values)
{
	for (int i = 0; i < count; i++)
		ret_values[i] = va_arg(arguments, unsigned long);
}

/*
 * A ruleset of Landlock can be made: it is what it is applied to that is confined. A
 * limit can be asked for.
 */
static int
confines(long number, const unsigned long *a)
{
	return number == SYS_seccomp || number == SYS_landlock_restrict_self ||
	       (number == SYS_prlimit64 && a[2] != 0);
}

long
__wrap_syscall(long number, ...)
{
	unsigned long a[SYSCALL_ARGUMENTS];
	va_list arguments;

	va_start(arguments, number);
	take_arguments(arguments, SYSCALL_ARGUMENTS, a);
	va_end(arguments);
	if (confines(number, a))
		return 0;
	return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int
__wrap_prctl(int option, ...)
{
	unsigned long a[PRCTL_ARGUMENTS];
	va_list arguments;

	va_start(arguments, option);
	take_arguments(arguments, PRCTL_ARGUMENTS, a);
	va_end(arguments);
	if (option == PR_SET_SECCOMP || option == PR_SET_NO_NEW_PRIVS)
		return 0;
	return __real_prctl(option, a[0], a[1], a[2], a[3]);
}

/* Neither an alarm nor the end of the parent: a file half written is no count. */
static void
shut_out_signals(void)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	__real_prctl(PR_SET_PDEATHSIG, 0UL, 0UL, 0UL, 0UL);
}

void
__wrap__exit(int status)
{
	shut_out_signals();
	__gcov_dump();
	__real__exit(status);
}

static void __attribute__((destructor)) before_counts_are_written(void)
{
	shut_out_signals();
}
