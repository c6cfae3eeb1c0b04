"""Statistics of several servers as one."""

from tritonclient.grpc import service_pb2 as pb

from services.model_serving.servers.statistics import total


def server(count, last, *batch_sizes, version="1"):
    found = pb.ModelStatistics(name="shift", version=version, inference_count=count, last_inference=last)
    found.inference_stats.success.count = count
    found.inference_stats.success.ns = count * 10
    for size in batch_sizes:
        found.batch_stats.add(batch_size=size).compute_infer.count = count
    return pb.ModelStatisticsResponse(model_stats=[found])


def test_counts_are_summed_and_the_last_inference_is_the_latest():
    answers = [server(3, 100, 1, 2), server(4, 90, 2), server(9, 500, version="2")]
    (found,) = total(answers, {("shift", "1")}).model_stats
    assert (found.inference_count, found.last_inference) == (7, 100)
    assert (found.inference_stats.success.count, found.inference_stats.success.ns) == (7, 70)
    assert {batch.batch_size: batch.compute_infer.count for batch in found.batch_stats} == {1: 3, 2: 7}


def test_only_what_is_asked_for():
    assert not total([server(3, 100)], set()).model_stats


def test_answers_of_decoupled_models_are_summed_by_their_place():
    def answered(*counts):
        made = server(1, 100)
        for place, count in enumerate(counts):
            made.model_stats[0].response_stats[str(place)].success.count = count
        return made

    (found,) = total([answered(3, 1), answered(4)], {("shift", "1")}).model_stats
    assert {place: answers.success.count for place, answers in found.response_stats.items()} == {"0": 7, "1": 1}
