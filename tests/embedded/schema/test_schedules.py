"""What a CronJob may say is what its controller understands: two readers of one grammar, held against each other."""

from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.errors import InvalidRequest
from tensorfusion.policy.cron import parse_schedule
from tensorfusion.policy.cron_grammar import explain_schedule

stars = st.sampled_from(["*", "?"])  # alone: the original takes "*-5" for "*", which only the API accepts too
words = st.sampled_from(["0", "1", "5", "12", "31", "59", "60", "7", "sun", "MON", "jan", "Dec", "x", ""])
spans = stars | st.builds("-".join, st.lists(words, min_size=1, max_size=3))
parts = st.builds("/".join, st.tuples(spans) | st.tuples(spans, st.sampled_from(["1", "2", "0", "90", "x", ""])))
fields = st.builds(",".join, st.lists(parts, min_size=1, max_size=2)).filter(lambda text: text.strip(","))
schedules = st.builds(" ".join, st.lists(fields, min_size=4, max_size=6))
named = st.sampled_from(["@daily", "@hourly", "@yearly", "@reboot", "@every 90s", "@every 1h30m", "@every x", "@"])


@given(schedules | named)
def test_a_schedule_is_accepted_exactly_if_the_controller_can_follow_it(schedule: str) -> None:
    try:
        parse_schedule(schedule)
        understood = True
    except InvalidRequest:
        understood = False
    assert understood is (explain_schedule(schedule) == [])
