#include "buckets.h"

#include <stdatomic.h>
#include <stddef.h>

// The generic cell rate algorithm (ITU-T I.371): all that is kept of a bucket is the time at which it will be full. One
// whose time has passed is as good as one that was never there, so its place may be had by another: what is kept is only
// who called lately. A place is looked for in one group; where all of it is in use the bucket that is nearest to full
// goes, and with it what was taken from it.
enum { GROUPS = 1 << 14, PLACES = 4 };

typedef struct {
  uint64_t id;
  uint64_t full_at;
} bucket;

typedef struct {
  atomic_flag busy;  // held for some ten instructions
  bucket places[PLACES];
} group;

static group groups[GROUPS];

static group *enter(uint64_t id) {
  group *of = &groups[id % GROUPS];
  while (atomic_flag_test_and_set_explicit(&of->busy, memory_order_acquire)) continue;
  return of;
}

static void leave(group *of) { atomic_flag_clear_explicit(&of->busy, memory_order_release); }

static bucket *find(group *of, uint64_t id) {
  for (size_t n = 0; n < PLACES; n++) {
    if (of->places[n].id == id && of->places[n].full_at != 0) return &of->places[n];
  }
  return NULL;
}

static bucket *find_or_make(group *of, uint64_t id) {
  bucket *found = find(of, id);
  if (found != NULL) return found;
  bucket *fullest = &of->places[0];
  for (size_t n = 1; n < PLACES; n++) {
    if (of->places[n].full_at < fullest->full_at) fullest = &of->places[n];
  }
  *fullest = (bucket){id, 0};
  return fullest;
}

withdrawal take_token(uint64_t id, uint64_t now, uint64_t interval, uint64_t burst) {
  withdrawal done;
  group *of = enter(id);
  bucket *from = find(of, id);
  uint64_t full_at = from != NULL && from->full_at > now ? from->full_at : now;
  uint64_t missing = full_at - now + interval, most = burst * interval;
  if (missing <= most) {
    if (from == NULL) from = find_or_make(of, id);
    from->full_at = now + missing;
    done = (withdrawal){true, (most - missing) / interval, missing};
  } else {
    done = (withdrawal){false, 0, missing - most};
  }
  leave(of);
  return done;
}

void return_token(uint64_t id, uint64_t interval) {
  group *of = enter(id);
  bucket *from = find(of, id);
  if (from != NULL && from->full_at > interval) from->full_at -= interval;
  leave(of);
}
