#define _POSIX_C_SOURCE 200809L

#include "quota.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "call.h"
#include "pages.h"

enum { NS = 1000000000, MOST_LIMITS = 64 };

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * NS + (uint64_t)now.tv_nsec;
}

static bool ends(view text, view suffix) {
  return text.length >= suffix.length && memcmp(text.ptr + text.length - suffix.length, suffix.ptr, suffix.length) == 0;
}

static bool begins(view text, view prefix) {
  return text.length >= prefix.length && memcmp(text.ptr, prefix.ptr, prefix.length) == 0;
}

// Of REST whatever is posted, but the one method that reads: a path can be written in more ways than we would think of.
bool is_metered(view path, view method) {
  if (ends(path, TEXT("Infer")) || begins(path, TEXT("/penstock.model_serving.v1.PredictionService/"))) return true;
  if (!begins(path, TEXT("/v1")) && !begins(path, TEXT("/v2"))) return false;
  view index = TEXT("/v2/repository/index");
  return begins(method, TEXT("POST")) && !(path.length == index.length && begins(path, index));
}

static void count(void *envoy, size_t counter, const limit *of, const caller *who) {
  view labels[] = {of->name, who->tenant, of->shadow ? TEXT("shadow") : TEXT("refused")};
  envoy_dynamic_module_callback_http_filter_increment_counter(envoy, counter, labels, 3, 1);
}

static withdrawal take(const limit *of, const caller *who, view unit, uint64_t now, uint64_t *id) {
  *id = bucket_of(of, who, unit);
  return take_token(*id, now, of->interval, of->burst);
}

// One room for a number and its header each.
typedef struct {
  char burst[24], left[24], seconds[24];
} texts;

static size_t quota_headers(const limit *of, withdrawal left, texts *room, header made[3]) {
  int sizes[] = {
      snprintf(room->burst, sizeof room->burst, "%" PRIu64, of->burst),
      snprintf(room->left, sizeof room->left, "%" PRIu64, left.left),
      snprintf(room->seconds, sizeof room->seconds, "%" PRIu64, (left.wait + NS - 1) / NS),
  };
  made[0] = (header){"x-ratelimit-limit", 17, room->burst, (size_t)sizes[0]};
  made[1] = (header){"x-ratelimit-remaining", 21, room->left, (size_t)sizes[1]};
  made[2] = (header){"x-ratelimit-reset", 17, room->seconds, (size_t)sizes[2]};
  return 3;
}

static void refuse_for(void *envoy, const limit *of, const caller *who, view origin, withdrawal left) {
  texts room;
  header said[3 + PAGE_HEADERS];
  char message[400];
  size_t more = quota_headers(of, left, &room, said);
  more += page_headers(origin, said + more);
  snprintf(message, sizeof message, "rate limit %.*s of tenant %.*s%s is used up; the next call may come in %" PRIu64 " ms",
           (int)of->name.length, of->name.ptr, (int)who->tenant.length, who->tenant.ptr,
           of->of_unit ? " for this routing key" : "", (left.wait + 999999) / 1000000);
  refuse_with(envoy, RESOURCE_EXHAUSTED, "RATE_LIMITED", message, said, more);
}

bool take_tokens(void *envoy, size_t counter, const caller *who, view origin, const limit **nearest, withdrawal *left) {
  const limits *all = &who->limited;
  size_t total = all->owns + all->eachs, taken = 0;
  if (total == 0) return true;
  const limit *from[MOST_LIMITS];
  uint64_t ids[MOST_LIMITS], now = now_ns();
  view unit = header_of(envoy, TEXT("x-penstock-routing-key"), NULL);
  if (unit.ptr == NULL) unit = TEXT("");
  for (size_t n = 0; n < total && taken < MOST_LIMITS; n++) {
    const limit *one = n < all->owns ? &all->own[n] : &all->each[n - all->owns];
    withdrawal done = take(one, who, unit, now, &ids[taken]);
    if (!done.taken) {
      count(envoy, counter, one, who);
      if (one->shadow) continue;
      while (taken > 0) taken--, return_token(ids[taken], from[taken]->interval);
      refuse_for(envoy, one, who, origin, done);
      return false;
    }
    if (*nearest == NULL || done.left < left->left) *nearest = one, *left = done;
    from[taken++] = one;
  }
  return true;
}

void tell_quota(void *envoy, const limit *of, withdrawal left) {
  texts room;
  header said[3];
  size_t count_of = quota_headers(of, left, &room, said);
  for (size_t n = 0; n < count_of; n++) {
    view name = {(char *)said[n].key, said[n].key_length}, value = {(char *)said[n].value, said[n].value_length};
    set_answer_header(envoy, name, value);
  }
}
