// A call's tokens: takes one of each limit that holds for its caller.

#pragma once

#include "access.h"
#include "buckets.h"

// Whether the call is one for an inference, in whatever form it comes.
bool is_metered(view path, view method);

// Takes a token of each limit, and tells which of them is nearest to its end. False where one has none left: then none is
// taken of any, and the call has been answered, to a page of `origin` where that is not NULL. `counter` is Envoy's number
// for calls above a limit.
bool take_tokens(void *envoy, size_t counter, const caller *who, view origin, const limit **nearest, withdrawal *left);

// The headers x-ratelimit-limit, -remaining and -reset (seconds) of an answer.
void tell_quota(void *envoy, const limit *of, withdrawal left);
