// The ids of requests.

#pragma once

#include <stdint.h>

enum { ID_LENGTH = 36 };

// Where ids come from: two with the same origin differ as long as their counts do, two of other origins do by chance
// alone (one in 2^58).
typedef struct {
  uint64_t origin;
  uint64_t count;
} ids;

// Writes the id of the next count, in the form of a random UUID (RFC 9562, version 4), without a NUL behind it.
void next_id(ids *from, char text[ID_LENGTH]);

// This thread's own source, of an origin that no other has. NULL where the machine gives nothing random.
ids *own_ids(void);
