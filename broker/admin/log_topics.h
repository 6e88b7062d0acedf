/*
 * log_topics.h: `log_dest topic`: log lines as messages on $SYS/broker/log/{D,I,N,W,E} and
 * $SYS/broker/log/M/{subscribe,unsubscribe}, as mosquitto has them.
 */
#ifndef ADMIN_LOG_TOPICS_H
#define ADMIN_LOG_TOPICS_H

#include "conn/broker.h"

/* Takes lines from now on; before the reactors start. Uses one mail type, `mail`. */
void log_topics_install(struct broker *broker, uint16_t mail);
void log_topics_uninstall(void);

#endif
