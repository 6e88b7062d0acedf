/*
 * sys.h: mosquitto's $SYS/broker/... topics, and ours beside them: retained messages that reactor 0
 * publishes every sys_interval, each only when its value changed.
 *
 * A round of some 170 topics is a job that publishes a few at a time.
 */
#ifndef ADMIN_SYS_H
#define ADMIN_SYS_H

#include "conn/broker.h"

#define SYS_PREFIX "$SYS/broker/"

struct sys;

/* Before the reactors start. Ends the program without memory. */
struct sys *sys_new(struct broker *broker);
void sys_free(struct sys *sys);
/* The first round, all at once, on the main thread before the reactors start: whoever connects first
   finds the topics retained. */
void sys_begin(struct sys *sys, struct worker *worker);
/* Every tick of reactor 0: begins a round when one is due. */
void sys_tick(struct sys *sys, struct worker *worker);

#endif
