#include "bulkhead.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { SHELVES = 4096 };

typedef struct {
  unsigned inside, waiting;
  size_t bytes_waiting;
  place *first, *last;
} side;

struct bulkhead {
  bulkhead *next;
  pthread_mutex_t lock;
  side sides[CLASSES];
  size_t size;
  char model[];
};

static bulkhead *shelves[SHELVES];
static pthread_mutex_t naming = PTHREAD_MUTEX_INITIALIZER;

static bulkhead **shelf_of(view model) {
  uint32_t hash = 2166136261u;
  for (size_t n = 0; n < model.length; n++) hash = (hash ^ (unsigned char)model.ptr[n]) * 16777619u;
  return &shelves[hash % SHELVES];
}

static bulkhead *new_bulkhead(view model) {
  bulkhead *made = calloc(1, sizeof *made + model.length);
  if (made == NULL) return NULL;
  pthread_mutex_init(&made->lock, NULL);
  made->size = model.length;
  if (model.length > 0) memcpy(made->model, model.ptr, model.length);
  return made;
}

static bulkhead *bulkhead_of(view model) {
  pthread_mutex_lock(&naming);
  bulkhead **shelf = shelf_of(model), *found = *shelf;
  while (found != NULL && (found->size != model.length || memcmp(found->model, model.ptr, model.length) != 0)) {
    found = found->next;
  }
  if (found == NULL && (found = new_bulkhead(model)) != NULL) {
    found->next = *shelf;
    *shelf = found;
  }
  pthread_mutex_unlock(&naming);
  return found;
}

// The number at the beginning, which ends at a blank or with the text; what it leaves is behind that.
static bool number_of(view *said, unsigned *number) {
  size_t n = 0;
  *number = 0;
  for (; n < said->length && said->ptr[n] != ' '; n++) {
    if (n == 9 || said->ptr[n] < '0' || said->ptr[n] > '9') return false;
    *number = *number * 10 + (unsigned)(said->ptr[n] - '0');
  }
  if (n == 0) return false;
  size_t taken = n < said->length ? n + 1 : n;
  *said = (view){said->ptr + taken, said->length - taken};
  return true;
}

bool read_room(view model, view said, room *made) {
  unsigned most, most_waiting, most_bytes = 0;
  if (!number_of(&said, &most) || !number_of(&said, &most_waiting)) return false;
  if (said.length > 0 && (!number_of(&said, &most_bytes) || said.length > 0)) return false;
  *made = (room){bulkhead_of(model), most, most_waiting, most_bytes};
  return made->of != NULL;
}

static side *side_of(const place *own) { return &own->in.of->sides[own->of]; }

static bool admit(side *at, place *own) {
  if (at->inside >= own->in.most) return false;
  at->inside++;
  own->now = INSIDE;
  return true;
}

static bool may_wait(const side *at, place *own) {
  own->too_large = own->bytes > MOST_BYTES_WAITING - at->bytes_waiting;
  return at->waiting < own->in.most_waiting && !own->too_large;
}

static void line_up(side *at, place *own) {
  own->now = WAITING;
  own->before = at->last;
  own->behind = NULL;
  *(at->last == NULL ? &at->first : &at->last->behind) = own;
  at->last = own;
  at->waiting++;
  at->bytes_waiting += own->bytes;
}

static void step_out(side *at, place *own) {
  *(own->before == NULL ? &at->first : &own->before->behind) = own->behind;
  *(own->behind == NULL ? &at->last : &own->behind->before) = own->before;
  at->waiting--;
  at->bytes_waiting -= own->bytes;
}

standing take_place(const room *into, class of, place *own) {
  *own = (place){.now = OUTSIDE, .of = of, .in = *into};
  side *at = side_of(own);
  pthread_mutex_lock(&own->in.of->lock);
  if (at->waiting == 0) admit(at, own);
  standing now = own->now;
  pthread_mutex_unlock(&own->in.of->lock);
  return now;
}

standing wait_for_place(place *own) {
  side *at = side_of(own);
  pthread_mutex_lock(&own->in.of->lock);
  if (!(at->waiting == 0 && admit(at, own)) && may_wait(at, own)) line_up(at, own);
  standing now = own->now;
  pthread_mutex_unlock(&own->in.of->lock);
  return now;
}

void leave_place(place *own) {
  if (own->in.of == NULL) return;
  side *at = side_of(own);
  pthread_mutex_lock(&own->in.of->lock);
  if (own->now == WAITING) step_out(at, own);
  if (own->now == INSIDE) {
    at->inside--;
    // all for whom there is room: a route may have been given more of it
    for (place *next = at->first; next != NULL && admit(at, next); next = at->first) {
      step_out(at, next);
      next->call_in(next->whom);  // under the lock: it cannot leave meanwhile
    }
  }
  own->now = OUTSIDE;
  pthread_mutex_unlock(&own->in.of->lock);
}
