// The way that a route gives a call: who may go it at once, what each attempt asks for, what is told with the answer. Pure.

#pragma once

#include "bulkhead.h"
#include "chain.h"

typedef struct {
  room in;
  view chain;                         // of every attempt; ptr NULL where nobody serves what the route asks for
  target first;                       // what the first one asks for
  view version, variant, experiment;  // each ptr NULL where there is none
  view degraded;                      // why it is not the version that was wanted; ptr NULL if it is
} way;

// Of a model's name and a route's text: lines of a word, a blank and what it is, `room` with `most most_waiting` or `most
// most_waiting most_bytes` first, then `chain`, `version`, `variant`, `experiment`, `degraded`, as far as there are. NULL
// where it says something else, or for want of memory. To be freed; the model's bulkhead stays, whoever is in it.
way *way_of(view model, view said);
