#include "limits.h"

#include <stdio.h>
#include <string.h>

#include "call.h"

enum { ITS_TURN = 1, FAULT_ROOM = 120 };

static bool is(view text, view other) { return text.length == other.length && !memcmp(text.ptr, other.ptr, text.length); }

// Whether roles, with commas between them, name this one.
static bool names(view roles, view wanted) {
  for (char *at = roles.ptr, *end = roles.ptr + roles.length; at < end;) {
    char *comma = memchr(at, ',', (size_t)(end - at)), *stop = comma == NULL ? end : comma;
    if (is((view){at, (size_t)(stop - at)}, wanted)) return true;
    at = stop + 1;
  }
  return false;
}

// Whoever may ask to be urgent and does. Without roles it is the local administrator, as everywhere.
static class class_of(void *envoy, bool copies) {
  if (copies) return COPY;
  view asked = header_of(envoy, TEXT("x-penstock-priority"), NULL);
  if (asked.ptr == NULL || !is(asked, TEXT("high"))) return ORDINARY;
  size_t said = 0;
  view roles = header_of(envoy, TEXT("x-penstock-roles"), &said);
  return said == 0 || names(roles, TEXT("urgent")) || names(roles, TEXT("admin")) ? URGENT : ORDINARY;
}

static void call_in(void *scheduler) { envoy_dynamic_module_callback_http_filter_scheduler_commit(scheduler, ITS_TURN); }

static void count(void *envoy, size_t refusals, class of) {
  static const char *const names_of[CLASSES] = {[ORDINARY] = "default", [URGENT] = "high", [COPY] = "copy"};
  view model = header_of(envoy, TEXT("x-penstock-scope"), NULL), name = {(char *)names_of[of], strlen(names_of[of])};
  view labels[] = {model, name};
  envoy_dynamic_module_callback_http_filter_increment_counter(envoy, refusals, labels, 2, 1);
}

static void turn_away(void *envoy, const place *own) {
  char fault[FAULT_ROOM];
  const char *of = own->of == URGENT ? " urgent" : own->of == COPY ? " copied" : "";
  if (own->too_large) {
    snprintf(fault, sizeof fault, "the model has %u%s calls under way, and all the memory for those that wait is taken",
             own->in.most, of);
  } else {
    snprintf(fault, sizeof fault, "the model has %u%s calls under way and %u waiting, as many as its route allows",
             own->in.most, of, own->of == COPY ? 0 : own->in.most_waiting);
  }
  refuse(envoy, RESOURCE_EXHAUSTED, "MODEL_BUSY", fault);
}

static bool check_size(void *envoy, const room *into, size_t bytes) {
  enum { FRAME = 5 };
  if (into->most_bytes == 0 || bytes <= (size_t)into->most_bytes + FRAME) return true;
  char fault[FAULT_ROOM];
  snprintf(fault, sizeof fault, "the message has %zu bytes; its model's route allows %u", bytes - FRAME, into->most_bytes);
  refuse(envoy, RESOURCE_EXHAUSTED, "REQUEST_TOO_LARGE", fault);
  return false;
}

static standing line_up(void *envoy, size_t bytes, turn *call) {
  call->scheduler = envoy_dynamic_module_callback_http_filter_scheduler_new(envoy);
  call->own.bytes = bytes;
  call->own.call_in = call_in;
  call->own.whom = call->scheduler;
  return wait_for_place(&call->own);
}

standing limits_on_call(void *envoy, const room *into, size_t refusals, bool copies, size_t bytes, turn *call) {
  if (!check_size(envoy, into, bytes)) return OUTSIDE;
  standing now = take_place(into, class_of(envoy, copies), &call->own);
  if (now == OUTSIDE && !copies && into->most_waiting > 0) now = line_up(envoy, bytes, call);
  if (now != OUTSIDE) return now;
  count(envoy, refusals, call->own.of);
  turn_away(envoy, &call->own);
  return OUTSIDE;
}

void limits_on_turn(void *envoy) { envoy_dynamic_module_callback_http_filter_continue_decoding(envoy); }

void limits_on_end(turn *call) {
  leave_place(&call->own);
  if (call->scheduler != NULL) envoy_dynamic_module_callback_http_filter_scheduler_delete(call->scheduler);
}
