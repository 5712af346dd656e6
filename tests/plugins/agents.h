/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the forwarder finds at the other end: nobody, a JobAPI that takes everything, a black hole.
 */
#ifndef TESTS_PLUGINS_AGENTS_H
#define TESTS_PLUGINS_AGENTS_H

enum { AGENTS_LOCATION_MAX = 64 };

#define AGENTS_DEAD "127.0.0.1:1"

/* One at a time. A line for each event goes to the file `log` (tests/plugins/job_api_server.c). */
void agents_start_server(char location[AGENTS_LOCATION_MAX], const char *log);
void agents_stop_server(void);

/* Takes connections and never says a word. Returns the socket, to be closed. */
int agents_open_black_hole(char location[AGENTS_LOCATION_MAX]);

#endif
