/* SPDX-License-Identifier: MIT */
#include "keeper.h"

#include "log.h"
#include "signals.h"
#include "util.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	DELAY_MAX_MS = 5000,
	/* Who has lived for so long was in good health, even if nobody asked it anything.
	 */
	HEALTHY_MS = 2 * DELAY_MAX_MS,
};

/* The process that is kept. */
struct kept {
	pid_t pid; /* 0 while there is none */
	int64_t started_ms;
	uint64_t progress; /* when it started */
	bool was_started;  /* once, at least */
	struct backoff backoff;
};

static void
log_end(int status)
{
	if (WIFSIGNALED(status))
		log_message("accept connections: process killed by signal %d: started "
			    "again",
			WTERMSIG(status));
	else
		log_message("accept connections: process ended with status %d: started "
			    "again",
			WEXITSTATUS(status));
}

static bool
wants_renewal(int status)
{
	return WIFEXITED(status) && WEXITSTATUS(status) == KEEPER_RENEW;
}

static void
put_off(struct kept *kept, const struct keeper_config *config, bool renewed)
{
	if (renewed || *config->progress != kept->progress ||
		util_now_ms() - kept->started_ms >= HEALTHY_MS)
		kept->backoff = (struct backoff){ 0 };
	backoff_grow(&kept->backoff, DELAY_MAX_MS);
}

/* Returns true when the process that is kept has come to a good end. */
static bool
reap(struct kept *kept, const struct keeper_config *config)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid != kept->pid)
			continue;
		kept->pid = 0;
		if (config->may_end && WIFEXITED(status) && WEXITSTATUS(status) == 0)
			return true;
		if (!wants_renewal(status)) /* it has said so itself */
			log_end(status);
		put_off(kept, config, wants_renewal(status));
	}
	return false;
}

/*
 * A successor has other addresses, and another stack canary, than the one that died:
 * what crashes show of them is of no use any more.
 */
static void
renew(const struct kept *kept, const struct keeper_config *config)
{
	int r;

	if (!kept->was_started || !config->renew)
		return;
	r = config->renew(config->context);
	log_message("start supervisor with new addresses: exec /proc/self/exe: %s: same "
		    "addresses",
		util_error_text(-r));
}

/* Returns true in the new process. */
static bool
start(struct kept *kept, const struct keeper_config *config)
{
	const pid_t keeper = getpid();

	kept->started_ms = util_now_ms();
	kept->progress = *config->progress;
	kept->pid = fork();
	if (kept->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != keeper)
			_exit(EXIT_FAILURE); /* gone before that took effect */
		signals_release();
		renew(kept, config);
		return true;
	}
	if (kept->pid < 0) {
		log_message("start process: %s", util_error_text(errno));
		kept->pid = 0;
		put_off(kept, config, false);
	} else {
		kept->was_started = true;
	}
	return false;
}

int
keeper_run(const struct keeper_config *config)
{
	struct kept kept = { 0 };

	signals_catch();
	while (!signals_told_to_stop() && !reap(&kept, config)) {
		int64_t left = kept.backoff.until_ms - util_now_ms();

		if (kept.pid == 0 && left <= 0) {
			if (start(&kept, config))
				return 1;
		} else {
			signals_pause(kept.pid == 0 ? left : -1);
		}
	}
	if (kept.pid > 0)
		kill(kept.pid, SIGKILL);
	return 0;
}
