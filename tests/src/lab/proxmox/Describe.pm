# Describes the run of vzdump that left a log, so that it can be played again. What vzdump said is
# taken apart into what it was about (`Heard`); what others printed is passed on as it is.
#
# Beside the description it prints what is odd about the log, as comments:
#   #form FORM               which of its logs it is
#   #repair LINE OLD NEW     was changed in one place but not in another, by whoever kept it
#   #drop LINE               cannot be a piece of this log
#   #join LINE               is the end of the line before
#   #end LINE                what comes from there on was left out or put there by somebody
package Describe;
use strict;
use warnings;
use Heard;
use Words;

sub describe {
    my ($text) = @_;
    my $is_cut = $text !~ /\n\z/;
    my @lines = split /\n/, $text, -1;
    pop @lines if !$is_cut;
    my @oddities;
    for my $number (0 .. $#lines) {
        next if $lines[$number] !~ /^< truncated lines/;
        push @oddities, '#end ' . ($number + 1);
        ($#lines, $is_cut) = ($number - 1, 0);
        last;
    }
    my $form = form($is_cut, @lines);
    my $heard = Heard->new($form);
    for my $number (0 .. $#lines) {
        my ($line, $at) = ($lines[$number], $number + 1);
        my $is_last_cut = $is_cut && $number == $#lines;
        if ($form eq 'mail' && $line =~ s/^(\d+):(\S*) /$1: / && $2 ne '') {
            push @oddities, "#repair $at\t$1:$2\t$1:";
        }
        $line =~ s/^\d+: // if $form eq 'mail';
        if ($number && $lines[$number - 1] =~ / -$/ && $line =~ /^ {4,}(\S.*)/) {
            push @oddities, "#join $at";
            $heard->continue($1);
            next;
        }
        next if $line eq '...';
        $line =~ s/ \.\.\.$//;
        my $time;
        if ($form =~ /guest|mail/) {
            $line =~ /^[A-Z]/ ? $heard->until(4.4) : $heard->since(5.0);
            ($time, $line) = timed($line);
            if (!defined $time) {
                push @oddities, "#drop $at";
                next;
            }
        }
        for my $repair ($heard->hear($line, $time, $is_last_cut)) {
            push @oddities, "#repair $at\t" . join("\t", @$repair);
        }
    }
    return join('', map { "$_\n" } "#form $form", @oddities, $heard->description);
}

sub form {
    my ($is_cut, @lines) = @_;
    my ($begin, $end) = @lines[0, -1];
    return 'mail' if $begin =~ /^\d+:\S* \d{4}-/;
    return 'guest' if $begin =~ /^(\d{4}-\d\d-\d\d|[A-Z][a-z]{2} \d\d) [\d:]{8} [A-Z]+: /;
    my $is_whole = $begin =~ /starting new backup job/ && grep { /: Backup job finished/ } @lines;
    return $is_whole && $end !~ /^TASK / ? 'terminal' : 'task';
}

# A line of a guest's log as when it was said (local, as if that were UTC), and the rest.
sub timed {
    my ($line) = @_;
    if ($line =~ /^(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d) (.*)$/s) {
        return (Words::timegm($1, $2, $3, $4, $5, $6), $7);
    }
    if ($line =~ /^([A-Z][a-z]{2}) (\d\d) (\d\d):(\d\d):(\d\d) (.*)$/s) {
        my $month = index('JanFebMarAprMayJunJulAugSepOctNovDec', $1) / 3 + 1;
        # It does not say the year; that of the archive does not matter here.
        return (Words::timegm(2001, $month, $2, $3, $4, $5), $6);
    }
    return;
}

1;
