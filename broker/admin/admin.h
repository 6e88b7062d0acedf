/*
 * admin.h: what admins see and ask: $SYS topics, session documents, control requests.
 */
#ifndef ADMIN_ADMIN_H
#define ADMIN_ADMIN_H

#include "conn/broker.h"

/* Sets broker->hooks and the mail handlers; before the reactors start. */
void admin_install(struct broker *broker);
/* Publishes what is to be there for the first client; right before the reactors start. */
void admin_begin(struct broker *broker);
/* Frees what admin keeps; after the reactors ended. */
void admin_uninstall(struct broker *broker);

#endif
