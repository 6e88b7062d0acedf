/*
 * descriptor_table.h: a table of descriptors for one thread alone.
 */
#ifndef RUNTIME_DESCRIPTOR_TABLE_H
#define RUNTIME_DESCRIPTOR_TABLE_H

/* From here on the calling thread has a copy of the table that it shared, and so a limit of its own.
   0, or errno. Needs no privilege, but a kernel or a container that allows it. */
int descriptor_table_leave(void);
/* Whether threads of this process may: 0, or the errno. Starts one and waits for its end. */
int descriptor_table_probe(void);

#endif
