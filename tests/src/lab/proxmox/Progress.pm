# Finds bytes that are told as a log tells them: each number in a log is a range, since it was
# rounded, and the ranges of a whole run bind each other.
package Progress;
use strict;
use warnings;

my $far = 2**60;
my %unit = (B => 0, KiB => 1, MiB => 2, GiB => 3, TiB => 4, PiB => 5);

# What bytes may have been told as `12.3 MiB`: [least, less than].
sub range {
    my ($text) = @_;
    my ($number, $name) = $text =~ /^([\d.]+) (\w+)$/ or die "$text: no bytes\n";
    my $digits = $number =~ /\.(\d+)$/ ? length $1 : 0;
    my ($half, $unit) = (0.5 / 10**$digits, 1024**$unit{$name});
    # Well inside, because what is in the middle of two is rounded by machines as they like.
    my $least = ($number - $half * 0.98) * $unit;
    # Less than one of a unit is told in a smaller one.
    $least = $unit if $unit > 1 && $least < $unit;
    return [$least, ($number + $half * 0.98) * $unit];
}

# What a rate may have been. No bytes, or less, is told as none.
sub rate {
    my ($text, $seconds) = @_;
    return [-$far, 0] if $text eq '0 B/s';
    my ($bytes) = $text =~ m{^(.*)/s$} or die "$text: no rate\n";
    return [map { $_ * $seconds } @{ range($bytes) }];
}

sub both {
    my ($one, @others) = @_;
    my ($from, $to) = @$one;
    for my $other (@others) {
        $from = $other->[0] if $other->[0] > $from;
        $to = $other->[1] if $other->[1] < $to;
    }
    return $from <= $to ? [$from, $to] : undef;
}

sub middle { return int(($_[0][0] + $_[0][1]) / 2) }

# Solves a chain: every point's value is in its `range`, and `step` above the one before (no step:
# nothing is known of what came before it). Returns the values, or nothing.
sub chain {
    my ($start, @points) = @_;
    my $at = [$start, $start];
    for my $point (@points) {
        my $step = $point->{step};
        my $reach = $step ? [$at->[0] + $step->[0], $at->[1] + $step->[1]] : [$at->[0], $far];
        $at = $point->{may} = both($reach, $point->{range} || [-$far, $far]) or return;
    }
    my ($later, @values);
    for my $point (reverse @points) {
        my $may = $point->{may};
        if ($later) {
            my ($value, $step) = @$later;
            my $back = $step ? [$value - $step->[1], $value - $step->[0]] : [-$far, $value];
            $may = both($may, $back) or return;
        }
        my $value = $may->[1] >= $far ? $may->[0] : $may->[0] <= -$far ? $may->[1] : middle($may);
        unshift @values, $value;
        $later = [$value, $point->{step}];
    }
    return @values;
}

# The rate that a look tells; of one that is cut, all that begin like it.
sub rates {
    my ($look) = @_;
    return $look->{read} if defined $look->{read};
    my @numbers = map { sprintf('%.1f', $_ / 10) } 1 .. 10239;
    my @begin_so = grep { index($_, $look->{read_begins}) == 0 } @numbers;
    return map { my $unit = $_; map { "$_ $unit/s" } @begin_so } qw(MiB KiB GiB);
}

# The looks and the end of a run, as a description has them. `looks` are hashes of `second`,
# `percent`, `copied`, `read`, `written` as told, in a last one that is cut only what `read_begins`
# with; `end` has `seconds`, `copied`, `rate`. Where what is told of the time since the line before
# cannot be, a line is missing in the log: an unseen look stands for it. Returns nothing if there
# are no such bytes.
sub solve {
    my ($target, $skipped, $looks, $end) = @_;
    my ($points, $solved) = copied($target, $looks) or return;
    if ($end) {
        my $range = both(range($end->{copied}), rate($end->{rate}, $end->{seconds})) or return;
        push @$points, { range => $range };
    }
    my @copied = chain(0, @$points) or return;
    my @skips;
    my $before = 0;
    for my $number (0 .. $#$solved) {
        my ($look, $seconds) = @{ $solved->[$number] }[2, 3];
        my $read = $copied[$number] - $before;
        my $step = [0, $read];
        if (defined $look->{written}) {
            my $written = rate($look->{written}, $seconds);
            # Nothing written: all of it was skipped.
            $step = $written->[1] <= 0 ? [$read, $read]
                : [$read - $written->[1], $read - $written->[0]];
        }
        push @skips, { step => $step };
        $before = $copied[$number];
    }
    my @skipped = chain($skipped, @skips);
    my @looks = map { [@{ $solved->[$_] }[0, 1], $copied[$_], $skipped[$_]] } 0 .. $#$solved;
    return (\@looks, $copied[-1]);
}

# What may have been copied at each look, and the looks: [kind, second, look, seconds since].
sub copied {
    my ($target, $looks) = @_;
    my (@points, @solved);
    my $second = 0;
    for my $look (@$looks) {
        my $percent = $look->{percent};
        my $range = both(range($look->{copied}),
            [$percent * $target / 100, ($percent + 1) * $target / 100 - 1]) or return;
        my $try = sub {
            my ($seconds, @unseen) = @_;
            for my $read (rates($look)) {
                # A read of nothing is not a read of less.
                my $step = both([0, $far], rate($read, $seconds));
                my @all = (@points, @unseen, { range => $range, step => $step });
                return \@all if chain(0, @all);
            }
            return;
        };
        my $seconds = $look->{second} - $second || 1;
        my $found = $try->($seconds);
        if (!$found) {
            $seconds = $seconds > 3 ? 3 : 1;
            $found = $try->($seconds, { step => [0, $far] }) or return;
            push @solved, ['unseen', $look->{second} - $seconds, {}, 0];
        }
        @points = @$found;
        push @solved, ['progress', $look->{second}, $look, $seconds];
        $second = $look->{second};
    }
    return (\@points, \@solved);
}

1;
